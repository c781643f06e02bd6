"""The chart as helm renders it, held against Kubernetes' schemas and against what Milepost needs."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import yaml

from benchmarks.autoscale.wanted import wanted
from milepost.runtime.secret_files import SUFFIX, secret_names
from milepost.runtime.settings import Settings
from milepost.store import migrate
from tests.chart.rendered import (
    CHART,
    CRDS,
    RELEASE,
    ROOT,
    SCHEMAS,
    VALIDATE,
    VALUES,
    Manifest,
    Rendered,
    helm,
    needs_tools,
    secret_files,
    template,
    variables,
)
from tests.conftest import MakeSettings
from tests.longest_stops import longest_stop_s

needs_tools()

SETS = sorted(path.stem for path in VALUES.glob("*.yaml"))
BUILT_IN = "1.30"
"""What kubectl-validate has in it, and the oldest version that the chart is for."""
KEPT = {"database-url": "postgresql://m:p@db/milepost", "redis-url": "redis://:p@redis:6379/0"}
"""What the Secret may hold, where not anything will do."""
OF_SERVERS = {
    "MILEPOST_DATABASE_URL_FILE",
    "MILEPOST_REDIS_URL_FILE",
    "MILEPOST_API_KEY_FILE",
    "MILEPOST_TOKEN_SECRET_FILE",
}
LEAST = VALUES / "least.yaml"
VERSIONS = [BUILT_IN, *sorted(path.name for path in SCHEMAS.glob("*"))]


@pytest.fixture(scope="module", params=SETS)
def rendered(request: pytest.FixtureRequest) -> Rendered:
    return Rendered(request.param)


@pytest.fixture(scope="module")
def whole() -> Rendered:
    return Rendered("whole")


def _containers(rendered: Rendered) -> Iterator[tuple[str, Manifest, Manifest]]:
    for each, pod in rendered.pods():
        for container in pod["spec"]["containers"]:
            yield each["metadata"]["name"], pod["spec"], container


@pytest.mark.parametrize("values", SETS)
def test_helm_finds_nothing_to_blame(values: str) -> None:
    ran = helm("lint", "--strict", str(CHART), "-f", str(VALUES / f"{values}.yaml"))
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_and_the_operators_would_take_it(rendered: Rendered, version: str, tmp_path: Path) -> None:
    manifests = tmp_path / "manifests.yaml"
    manifests.write_text(rendered.text)
    ran = _validated(manifests, version)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert len(rendered.all) > 5


@pytest.mark.parametrize("version", VERSIONS)
def test_the_validation_would_see_a_mistake(whole: Rendered, version: str, tmp_path: Path) -> None:
    manifests = tmp_path / "manifests.yaml"
    for right, wrong in (("maxReplicaCount: 40", "maxReplicaCount: many"), ("replicas: 3", "replica: 3")):
        assert right in whole.text
        manifests.write_text(whole.text.replace(right, wrong, 1))
        assert _validated(manifests, version).returncode != 0


def _validated(manifests: Path, version: str) -> subprocess.CompletedProcess[str]:
    arguments = [str(VALIDATE), str(manifests), "--local-crds", str(CRDS), "--version", BUILT_IN]
    if version != BUILT_IN:
        arguments += ["--local-schemas", str(SCHEMAS / version)]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False)


def test_no_pod_may_do_more_than_it_has_to(rendered: Rendered) -> None:
    for name, pod, container in _containers(rendered):
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] > 0, name
        may = container["securityContext"]
        assert may["readOnlyRootFilesystem"] is True, name
        assert may["allowPrivilegeEscalation"] is False, name
        assert may["capabilities"] == {"drop": ["ALL"]}, name
        assert may["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert container["resources"]["limits"]["memory"], name
        assert container["resources"]["requests"]["cpu"], name
        assert {mount["mountPath"] for mount in container["volumeMounts"]} >= {"/tmp"}, name  # noqa: S108
        assert {mount["name"] for mount in container["volumeMounts"]} == {each["name"] for each in pod["volumes"]}
        assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC"}, name
    for account in rendered.of("ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


def test_every_variable_is_a_setting_and_the_service_would_start_with_them(
    rendered: Rendered, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    known = {f"MILEPOST_{name.upper()}" for name in Settings.model_fields}
    for name, pod, container in _containers(rendered):
        plain, files = variables(container), secret_files(pod, container)
        assert len(plain) == len(container["env"]), f"{name} gets a variable twice"
        ours = {each for each in plain if each.startswith("MILEPOST_")}
        assert {each for each in ours if each not in SECRET_FILES} <= known, f"{name}: {sorted(ours - known)}"
        with monkeypatch.context() as patched:
            for variable in ours:
                patched.setenv(variable, plain[variable])
                # What is mounted in a pod is not here.
                if variable in SECRET_FILES:
                    _, key = files[plain[variable]]
                    (tmp_path / key).write_text(KEPT.get(key, "x" * 40) + "\n")
                    patched.setenv(variable, str(tmp_path / key))
                elif variable.endswith("FILE"):
                    patched.setenv(variable, __file__)
            settings = Settings.load()
        assert settings.kafka_bootstrap.startswith("kafka"), name


SECRET_FILES = {f"MILEPOST_{name.upper()}{SUFFIX}" for name in secret_names(Settings.model_fields)}


def test_secrets_are_files_and_never_written_nor_in_the_environment(rendered: Rendered) -> None:
    assert not rendered.of("Secret")
    for name, pod, container in _containers(rendered):
        assert not any("valueFrom" in each for each in container["env"]), name
        assert "envFrom" not in container, name
        plain, files = variables(container), secret_files(pod, container)
        assert not {each.removesuffix(SUFFIX) for each in SECRET_FILES} & plain.keys(), name
        named = {each: plain[each] for each in SECRET_FILES & plain.keys()}
        needed = OF_SERVERS if container["name"] in {"api", "notifier"} else {"MILEPOST_DATABASE_URL_FILE"}
        sasl = {"MILEPOST_KAFKA_SASL_PASSWORD_FILE"} if "MILEPOST_KAFKA_SASL_USERNAME" in plain else set()
        assert named.keys() == needed | sasl, name
        of_ours = {path: secret for path, (secret, key) in files.items() if path.startswith("/run/secrets/milepost/")}
        assert of_ours == dict.fromkeys(named.values(), "milepost"), f"{name} sees secrets that it does not read"
        assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"], "who may read them"


def test_secrets_of_handlers_are_seen_by_their_pool_alone(whole: Rendered) -> None:
    seen = {
        name
        for name, pod, container in _containers(whole)
        if "/run/secrets/shop-bank/*" in secret_files(pod, container)
    }
    assert seen == {f"{RELEASE}-milepost-worker-heavy"}


def test_secrets_that_an_installation_lacks_are_not_asked_for() -> None:
    text = template(LEAST, "secretKeys.tokenSecret=", "secretKeys.tokenSecretsOld=old")
    manifests = [each for each in yaml.safe_load_all(text) if each and each["kind"] == "Deployment"]
    for each in manifests:
        pod = each["spec"]["template"]["spec"]
        keys = {key for _, key in secret_files(pod, pod["containers"][0]).values()}
        assert keys == (
            {"database-url"}
            if "worker" in each["metadata"]["name"]
            else {"database-url", "redis-url", "api-key", "old"}
        )


def test_what_selects_pods_finds_those_it_is_for(rendered: Rendered) -> None:
    for each, pod in rendered.pods():
        if each["kind"] == "Deployment":
            assert rendered.matched(each["spec"]["selector"]) == [each["metadata"]["name"]]
        for spread in pod["spec"].get("topologySpreadConstraints", []):
            assert rendered.matched(spread["labelSelector"]) == [each["metadata"]["name"]]
    for budget in rendered.of("PodDisruptionBudget"):
        assert rendered.matched(budget["spec"]["selector"]) == [budget["metadata"]["name"]]
    for policy in rendered.of("NetworkPolicy"):
        assert rendered.matched(policy["spec"]["podSelector"]) == [policy["metadata"]["name"]]
    for monitor in rendered.of("PodMonitor"):
        found = rendered.matched(monitor["spec"]["selector"])
        assert len(found) == len(rendered.of("Deployment"))
        jobs = {
            each["spec"]["template"]["metadata"]["labels"][monitor["spec"]["jobLabel"]]
            for each in rendered.of("Deployment")
        }
        assert jobs == {"api", "notifier", "worker"}, "alerts and dashboards go by these"
        for name in found:
            assert any(port["name"] == "metrics" for port in _ports(rendered, name))
    for service in rendered.of("Service"):
        (target,) = rendered.matched({"matchLabels": service["spec"]["selector"]})
        named = {port["name"] for port in _ports(rendered, target)}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= named
        assert service["spec"]["sessionAffinity"] == "None"


def test_alerts_come_with_what_they_are_about(rendered: Rendered) -> None:
    rules = [each["spec"] for each in rendered.of("PrometheusRule")]
    files = sorted((ROOT / "deploy/prometheus/rules").glob("*.yml"))
    wanted = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in files]
    assert rules == (wanted if rendered.of("PodMonitor") else [])


def _ports(rendered: Rendered, workload: str) -> list[dict[str, Any]]:
    (ports,) = [container["ports"] for name, _, container in _containers(rendered) if name == workload]
    found: list[dict[str, Any]] = ports
    return found


def test_each_is_policed_and_budgeted_unless_that_is_off(rendered: Rendered) -> None:
    workloads = {each["metadata"]["name"] for each, _ in rendered.pods()}
    served = {each["metadata"]["name"] for each in rendered.of("Deployment")}
    assert {each["metadata"]["name"] for each in rendered.of("NetworkPolicy")} in (workloads, set())
    assert {each["metadata"]["name"] for each in rendered.of("PodDisruptionBudget")} in (served, set())
    assert bool(rendered.of("NetworkPolicy")) == (len(rendered.of("Job")) == 1)


def _peer(peer: Any) -> str:
    match peer:
        case {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}:
            return str(name)
        case {"ipBlock": {"cidr": cidr}}:
            return str(cidr)
    return str(peer)


def _ways(policy: Manifest, direction: str, peers: str) -> set[tuple[str, str]]:
    """Return (port, to or from whom) a policy opens; `anybody` where it names no peers."""
    found = set()
    for rule in policy["spec"][direction]:
        assert {port["protocol"] for port in rule["ports"]} <= {"TCP", "UDP"}
        who = " or ".join(map(_peer, rule.get(peers, ["anybody"])))
        found |= {(f"{port['protocol']} {port['port']}", who) for port in rule["ports"]}
    return found


def test_who_may_talk_to_whom(whole: Rendered) -> None:
    least = {("UDP 53", "anybody"), ("TCP 53", "anybody"), ("TCP 4318", "anybody"), ("TCP 9093", "anybody")}
    postgres, redis = ("TCP 5432", "10.1.2.3/32"), ("TCP 6379", "anybody")
    into = {
        "-api": {("TCP 8000", "ingress"), ("TCP 9464", "monitoring")},
        "-notifier": {("TCP 8001", "ingress"), ("TCP 8002", "ingress"), ("TCP 9464", "monitoring")},
        "-worker-default": {("TCP 9464", "monitoring")},
        "-worker-heavy": {("TCP 9464", "monitoring")},
        "-worker-watched": {("TCP 9464", "monitoring")},
        "-migrate": set(),
    }
    for name, ways in into.items():
        policy = whole.one("NetworkPolicy", name)
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        assert _ways(policy, "ingress", "from") == ways, name
        out = _ways(policy, "egress", "to")
        public = {way for way in out if "0.0.0.0/0" in way[1]}
        assert {port for port, _ in public} == (
            {"TCP 443", "TCP 8443"} if name in {"-worker-default", "-worker-watched"} else set()
        ), name
        more = {redis} if name in {"-api", "-notifier"} else set()
        more |= {("TCP 443", "anybody")} if name == "-worker-heavy" else set()
        assert out - public == least | {postgres} | more, name


def test_each_has_longer_to_stop_than_it_takes_at_most(rendered: Rendered) -> None:
    for each in rendered.of("Deployment"):
        pod = each["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        longest = longest_stop_s(container["name"], variables(container))
        # SIGTERM comes when it has left its Service, and the grace begins before.
        left = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert pod["terminationGracePeriodSeconds"] >= left + longest, each["metadata"]["name"]


def test_a_worker_that_blocks_ends_itself_before_the_kubelet_does(rendered: Rendered) -> None:
    workers = [container for _, _, container in _containers(rendered) if container["name"] == "worker"]
    assert workers
    for container in workers:
        settings = variables(container)
        probe = container["livenessProbe"]
        patience = probe["periodSeconds"] * (probe["failureThreshold"] - 1)
        assert patience > float(settings["MILEPOST_BLOCK_LIMIT"]) + 10


def test_migrations_come_first_and_need_nothing_that_comes_later(rendered: Rendered) -> None:
    for job in rendered.of("Job"):
        assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
        pod = job["spec"]["template"]["spec"]
        assert pod["containers"][0]["args"] == ["migrate"]
        assert pod["restartPolicy"] == "Never"
        assert "serviceAccountName" not in pod
        policy = rendered.one("NetworkPolicy", "-migrate")["metadata"]["annotations"]
        assert int(policy["helm.sh/hook-weight"]) < int(job["metadata"]["annotations"]["helm.sh/hook-weight"])


def test_images_are_those_the_dockerfile_makes(rendered: Rendered) -> None:
    made = (ROOT / "deploy/Dockerfile").read_text()
    for _, _, container in _containers(rendered):
        name = container["image"].rpartition("/")[2].partition(":")[0]
        assert f"FROM base AS {name.removeprefix('milepost-').removesuffix('-analysis')}" in made


def test_doors_lead_to_services_that_are_there(rendered: Rendered) -> None:
    there = {
        (each["metadata"]["name"], key)
        for each in rendered.of("Service")
        for port in each["spec"]["ports"]
        for key in (port["name"], port["port"])
    }
    routes = [
        (backend["service"]["name"], backend["service"]["port"]["name"])
        for door in rendered.of("Ingress")
        for rule in door["spec"]["rules"]
        for backend in (path["backend"] for path in rule["http"]["paths"])
    ]
    routes += [
        (backend["name"], backend["port"])
        for door in rendered.of("HTTPRoute")
        for rule in door["spec"]["rules"]
        for backend in rule["backendRefs"]
    ]
    assert set(routes) <= there
    if routes:
        (api,) = [container for name, _, container in _containers(rendered) if name == f"{RELEASE}-milepost-api"]
        assert variables(api)["MILEPOST_STREAM_URL"] == "wss://tasks.example/v1/stream"
        assert variables(api)["MILEPOST_EVENTS_URL"] == "https://events.example"


def test_a_pool_that_scales_is_left_to_keda_and_each_by_its_own_queues(whole: Rendered) -> None:
    objects = {each["spec"]["scaleTargetRef"]["name"]: each["spec"] for each in whole.of("ScaledObject")}
    assert objects.keys() == {f"{RELEASE}-milepost-worker-{pool}" for pool in ("default", "heavy", "watched")}
    for name in objects:
        (deployment,) = [each for each in whole.of("Deployment") if each["metadata"]["name"] == name]
        assert "replicas" not in deployment["spec"]
    default, heavy, watched = (objects[f"{RELEASE}-milepost-worker-{pool}"] for pool in ("default", "heavy", "watched"))
    asked = default["triggers"][0]["metadata"]
    assert asked["query"].strip() == wanted(["default", "mail.out"], most=640, within_s=10).strip()
    assert float(asked["targetQueryValue"]) == pytest.approx(12.8)
    asked = heavy["triggers"][0]["metadata"]
    assert asked["query"].strip() == wanted(["analysis"], most=10, within_s=0.5).strip()
    assert float(asked["targetQueryValue"]) == 2
    prometheus, cpu = watched["triggers"]
    assert 'milepost_queue_depth{queue=~"slow"}' in prometheus["metadata"]["query"]
    assert cpu["type"] == "cpu"
    (authentication,) = whole.of("TriggerAuthentication")
    assert default["triggers"][0]["authenticationRef"]["name"] == authentication["metadata"]["name"]
    assert authentication["spec"]["secretTargetRef"][0]["name"] == "milepost-keda"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Debian's package `prometheus` has promtool")
def test_the_query_for_prometheus_is_one_and_names_metrics_there_are(whole: Rendered, tmp_path: Path) -> None:
    queries = [
        trigger["metadata"]["query"]
        for each in whole.of("ScaledObject")
        for trigger in each["spec"]["triggers"]
        if trigger["type"] == "prometheus"
    ]
    assert queries
    rules = [{"record": f"slots:wanted_{number}", "expr": query} for number, query in enumerate(queries)]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "keda", "rules": rules}]}))
    ran = subprocess.run(["promtool", "check", "rules", str(path)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    known = (ROOT / "docs/metrics.md").read_text()
    for name in {name for query in queries for name in re.findall(r"milepost_\w+", query)}:
        assert f"| `{name}` |" in known


@pytest.mark.stack
async def test_the_query_in_the_chart_is_one_that_postgres_answers(whole: Rendered, fresh: MakeSettings) -> None:
    settings = await fresh()
    await migrate(settings)
    connection = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        for each in whole.of("ScaledObject"):
            for trigger in each["spec"]["triggers"]:
                if trigger["type"] == "postgresql":
                    assert await connection.fetchval(trigger["metadata"]["query"]) == 0
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["existingSecret="], "existingSecret has to name"),
        (["settings.kafka_bootstrap="], "kafka_bootstrap has to name"),
        (["settings.kafka_sasl_password=x"], "kafka_sasl_password"),
        (["api.settings.api_key=x"], "api_key"),
        (["environment.MILEPOST_LEASE=9"], "MILEPOST_LEASE"),
        (["environment.PGPASSWORD=x"], "PGPASSWORD"),
        (["workers.default.memoryClass=vast"], "which memoryClasses does not have"),
        (["workers.default.replica=2"], "replica"),
        (["workers.other.scaling.enabled=true"], "queues have to be named"),
        (["workers.default.replicas=0"], "no pool keeps a worker"),
        (
            [
                "workers.default.scaling.enabled=true",
                "workers.other.scaling.enabled=true",
                "workers.other.queues={default}",
            ],
            "scales both workers.default and workers.other",
        ),
    ],
)
def test_values_that_cannot_be_meant_are_refused_with_a_reason(values: list[str], said: str) -> None:
    with pytest.raises(RuntimeError) as refused:
        template(LEAST, *values)
    assert said in str(refused.value)
