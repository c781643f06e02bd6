# make demo            the main job, end to end, on real servers
# make test            the tests CI runs: all but the long fault tests
# make dev             the same stack as demo, serving, with reload of task code
# make check            format, lint, types, layers, contracts
# make bench            the main job under load, with figures
# make bench-relay      the relay under load, beside two others
# make bench-retention  a million old tasks deleted while others are submitted and run
# make bench-tracing    what tracing costs the main job, off and on by turns (minutes; ARGS="--against PATH" for off in another checkout)
# make bench-turns alerts      a tenant with 100,000 tasks in front, and how long another's first task waits
# make faults           every fault at length, each with an audit (make test runs the short ones)
# make alerts         each alert fires when what it watches is broken, and ends again (half an hour)
# make soak MINUTES=5 SEED=1    a steady load, one fault after the other, figures and an audit
# make autoscale        load triples, and workers start and stop by the query KEDA asks: 4 minutes, figures and an audit
# make fuzz-api         the API asked by schemathesis 5,000 times and more (make test: 20 seconds)
# make check-chart      the Helm chart, rendered and held against Kubernetes' schemas (builds helm once: minutes)
# make undefended      each defence taken away, one at a time: its tests have to fail (an hour)
# make audit            whether a dependency is known to be vulnerable (a part of make check)
# make simulate         ownership in many more histories than the tests look at: make simulate TIMES=10 SEED=7
# make collector        the OpenTelemetry Collector, built from its Go modules into .tools/bin/otelcol (needs Go; minutes)
# make compose-demo   the whole system in containers, and the same demo in it
# make compose-kill   from nothing, each container killed under load, an audit, down (root; deploy/try-compose)
# make observability  traces and metrics of it, looked for in Jaeger and Prometheus (root; deploy/try-observability)
# make pictures        take the pictures in the README anew
# make build-browser   clients/browser/dist anew from its source (needs Node)
# make metrics-page   docs/metrics.md anew from the catalogue of metrics
# make settings-page  docs/settings.md anew from the settings
# make schemas        write schemas/published from the code; release-schemas: what from now on nothing may break
# make dashboards     dashboards and the rules of objectives anew from deploy/observability
# make lock            take the newest versions that fit pyproject.toml

PYTHON ?= python3
MINUTES ?= 5
VENV := .venv
UV := .tools/bin/uv
BROWSER := clients/browser
BROWSER_READY := $(BROWSER)/node_modules/.ready
OCB := v0.161.0
# The same as 2.13.0: the newest of Jaeger v2 that can be had as a Go module. docker-compose.yml names it too.
JAEGER := v1.76.0
VALIDATOR := schemas/validator
VALIDATOR_READY := $(VALIDATOR)/node_modules/.ready
READY := $(VENV)/.ready
RUN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo dev test check check-chart check-asyncapi check-browser test-browser build-browser format bench bench-relay bench-turns alerts dashboards faults soak autoscale fuzz-api undefended audit simulate compose-up compose-demo compose-kill compose-down observability jaeger schemas metrics-page release-schemas pictures lock clean bench-retention bench-tracing settings-page

help:
	@sed -n 's/^# //p' $(firstword $(MAKEFILE_LIST))

$(UV): tools.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Milepost needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.13 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "$(PYTHON) cannot make virtual environments. On Debian or Ubuntu: apt install python3-venv"; exit 1; }
	@echo "installing uv (a few seconds, once)"
	@$(PYTHON) -m venv --clear .tools
	@.tools/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tools.lock
	@touch $@

$(READY): $(UV) requirements.lock pyproject.toml schemas/pyproject.toml services/*/pyproject.toml
	@echo "installing locked dependencies into $(VENV)"
	@test -x $(RUN)/python || $(UV) venv --quiet --python $(PYTHON) $(VENV)
	@$(UV) pip sync --quiet --python $(RUN)/python requirements.lock
	@touch $@

demo: $(READY)
	@$(RUN)/milepost demo $(ARGS)

dev: $(READY)
	@$(RUN)/milepost dev $(ARGS)

test: $(READY)
	$(RUN)/pytest $(ARGS)

check: $(READY)
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy
	$(RUN)/lint-imports
	$(RUN)/python .ci/audit.py
	$(RUN)/python -m deploy.observability --check
	$(RUN)/python -m milepost_schemas --check schemas/published
	$(RUN)/python -m milepost_api.publish --check schemas/published
	$(RUN)/python -m milepost.runtime.settings_page --check docs/settings.md
	$(RUN)/python -m milepost_schemas.compatibility schemas/released schemas/published
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory check-asyncapi check-browser; \
	  else echo "There is no Node here: $(BROWSER) and asyncapi.yaml are not checked."; fi

# Go modules, built here: none of them ships its program in a package.
.tools/bin/helm: | $(UV)
	@echo "building helm (minutes, once)"
	cd .tools && GOBIN=$(CURDIR)/.tools/bin GOFLAGS=-trimpath nice go install -ldflags="-s -w" helm.sh/helm/v4/cmd/helm@v4.3.1

.tools/bin/kubectl-validate: | $(UV)
	@echo "building kubectl-validate (minutes, once)"
	cd .tools && GOBIN=$(CURDIR)/.tools/bin GOFLAGS=-trimpath nice go install -ldflags="-s -w" sigs.k8s.io/kubectl-validate@v0.0.4

CRDS := github.com/kedacore/keda/v2@v2.21.0/config/crd/bases \
  github.com/prometheus-operator/prometheus-operator@v0.85.0/example/prometheus-operator-crd \
  sigs.k8s.io/gateway-api@v1.4.0/config/crd/standard

.tools/crds: Makefile | $(UV)
	@rm -rf $@.new && mkdir -p $@.new
	@for each in $(CRDS); do module=$${each%%/config/*}; module=$${module%%/example/*}; \
	  (cd .tools && go mod download $$module) && \
	  cp "$$(go env GOMODCACHE)/$$each"/*.yaml $@.new/ || exit 1; done
	@chmod -R u+w $@.new && rm -f $@.new/kustomization.yaml && rm -rf $@ && mv $@.new $@

# kubectl-validate has Kubernetes' schemas up to 1.30 in it. Those of newer versions are files of Kubernetes' own module, here
# under the names it looks for.
KUBERNETES := v1.37.2

.tools/kubernetes: Makefile | $(UV)
	@rm -rf $@.new && mkdir -p $@.new/$(KUBERNETES)/api
	@cd .tools && go mod download k8s.io/kubernetes@$(KUBERNETES)
	@set -e; cd "$$(go env GOMODCACHE)/k8s.io/kubernetes@$(KUBERNETES)/api/openapi-spec/v3"; to=$(CURDIR)/$@.new/$(KUBERNETES); \
	  cp api__v1_openapi.json $$to/api/v1.json; \
	  for each in apis__*__*_openapi.json; do \
	    name=$${each%_openapi.json}; name=$${name#apis__}; mkdir -p $$to/apis/$${name%__*}; \
	    cp $$each $$to/apis/$${name%__*}/$${name##*__}.json; done
	@chmod -R u+w $@.new && rm -rf $@ && mv $@.new $@

check-chart: $(READY) .tools/bin/helm .tools/bin/kubectl-validate .tools/crds .tools/kubernetes
	CHART=required $(RUN)/pytest tests/chart $(ARGS)

$(VALIDATOR_READY): $(VALIDATOR)/package-lock.json
	cd $(VALIDATOR) && npm ci --silent
	@touch $@

check-asyncapi: $(VALIDATOR_READY)
	cd $(VALIDATOR) && node asyncapi.mjs ../published/asyncapi.yaml

$(BROWSER_READY): $(BROWSER)/package-lock.json
	cd $(BROWSER) && npm ci --silent
	@touch $@

check-browser: $(BROWSER_READY)
	cd $(BROWSER) && npm run --silent check

test-browser: $(BROWSER_READY)
	cd $(BROWSER) && npm run --silent test

build-browser: $(BROWSER_READY)
	cd $(BROWSER) && npm run --silent format && npm run --silent build

format: $(READY)
	$(RUN)/ruff format .
	$(RUN)/ruff check --fix .

bench: $(READY)
	$(RUN)/milepost bench $(ARGS)

bench-turns: $(READY)
	$(RUN)/python -m benchmarks.turns $(ARGS)

bench-tracing: $(READY)
	$(RUN)/python -m benchmarks.tracing $(ARGS)

bench-retention: $(READY)
	$(RUN)/python -m benchmarks.retention $(ARGS)

bench-relay: $(READY)
	$(RUN)/python -m benchmarks.relay $(ARGS)

faults: $(READY)
	$(RUN)/pytest tests/faults -m faults $(ARGS)

alerts: $(READY)
	$(RUN)/pytest tests/faults/test_alerts.py -m "" $(ARGS)

soak: $(READY)
	$(RUN)/python -m tests.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(ARGS)

autoscale: $(READY)
	$(RUN)/python -m tests.autoscale $(ARGS)

fuzz-api: $(READY)
	FUZZ_EXAMPLES=$(or $(EXAMPLES),250) FUZZ_REQUESTS=$(or $(REQUESTS),5000) FUZZ_SEED=$(or $(SEED),1) $(RUN)/pytest -s tests/fuzzing $(ARGS)

undefended: $(READY)
	$(RUN)/python -m tests.undefended $(ARGS)

audit: $(READY)
	AUDIT=required $(RUN)/python .ci/audit.py

simulate: $(READY)
	SIMULATION_TIMES=$(or $(TIMES),10) SIMULATION_SEED=$(or $(SEED),1) $(RUN)/pytest tests/integration/store/simulation --hypothesis-seed=$(or $(SEED),1) $(ARGS)

compose-up:
	@test -e .env || deploy/make-env
	docker compose up --build --wait

compose-demo: compose-up
	docker compose run --rm demo

compose-kill:
	deploy/try-compose $(ARGS)

observability:
	deploy/try-observability $(ARGS)

compose-down:
	docker compose down

schemas: $(READY)
	$(RUN)/python -m milepost_schemas schemas/published
	$(RUN)/python -m milepost_api.publish schemas/published

release-schemas: schemas
	rm -rf schemas/released
	cp -R schemas/published schemas/released

metrics-page: $(READY)
	$(RUN)/python -m milepost.runtime.metrics docs/metrics.md

settings-page: $(READY)
	$(RUN)/python -m milepost.runtime.settings_page docs/settings.md

pictures: $(READY)
	$(UV) run --quiet --no-project --with pyte==0.8.2 --with rich==15.0.0 docs/pictures/terminal.py \
	  docs/pictures/demo.svg 125 60 "Serving." make demo
	PYTHONPATH=. $(RUN)/python docs/pictures/page.py docs/pictures/page.png docs/pictures/page-dark.png

# Tests that look at what a Collector lets through are run with it where it has been built.
.PHONY: collector
collector: .tools/bin/otelcol

.tools/bin/otelcol: deploy/otel-collector/builder.yaml
	@echo "building the OpenTelemetry Collector (minutes, once)"
	@mkdir -p .tools/bin
	@set -e; work=$$(mktemp -d); trap 'chmod -R u+w $$work; rm -rf $$work' EXIT; \
	  GOFLAGS=-buildvcs=false GOBIN=$$work go install go.opentelemetry.io/collector/cmd/builder@$(OCB); \
	  sed "s|^dist:|&\n  output_path: $$work/otelcol|" $< >$$work/builder.yaml; \
	  CGO_ENABLED=0 GOFLAGS=-buildvcs=false $$work/builder --config=$$work/builder.yaml; \
	  mv $$work/otelcol/otelcol $@

dashboards: $(READY)
	$(RUN)/python -m deploy.observability

# Without its pages: they are built with Node, elsewhere. Its query API is there.
jaeger: .tools/bin/jaeger

.tools/bin/jaeger:
	@echo "building Jaeger (several minutes, once)"
	@mkdir -p .tools/bin
	@set -e; work=$$(mktemp -d); trap 'chmod -R u+w $$work; rm -rf $$work' EXIT; \
	  source=$$(cd $$work && go mod download -json github.com/jaegertracing/jaeger@$(JAEGER) | sed -n 's/.*"Dir": "\(.*\)".*/\1/p'); \
	  cp -R "$$source" $$work/jaeger; chmod -R u+w $$work/jaeger; \
	  cd $$work/jaeger && GOFLAGS="-buildvcs=false -trimpath -mod=mod" go build -ldflags '-s -w' -o $(CURDIR)/$@ ./cmd/jaeger

lock: $(UV)
	rm -f uv.lock
	$(UV) export --quiet --all-packages --all-groups --format requirements-txt -o requirements.lock
	rm -f uv.lock

clean:
	rm -rf $(VENV) .tools .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
