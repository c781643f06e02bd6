"""deploy/try-observability: one trace over three services in Jaeger, and every replica in Prometheus, in containers.

Grafana takes part where its image can be pulled; nothing else has it.
"""

import secrets
import sys
import uuid
from pathlib import Path

from tests.compose import course
from tests.compose.engine import Failed, Project, wait_for
from tests.compose.seen import Jaeger, Prometheus, fetch
from tests.compose.settings import free_port, secrets_of
from tests.compose.stand_ins import STAND_INS, can_be_pulled, provide
from tests.compose.trying import Step, tried

NETWORK = "172.31.242"
GRAFANA = "grafana/grafana:12.4.10"
SERVICES = {"milepost-api", "milepost-worker", "milepost-notifier"}
MORE = {"api": 1, "notifier": 2, "worker": 3}
SEEN_S = 120.0
"""A decision is made 15 s after the first span of a trace, and each process sends its spans every 5 s."""


def look(project: Project, _folder: Path, settings: dict[str, str], step: Step) -> None:
    """Go the whole way. Raises Failed."""
    if made := provide(*STAND_INS):
        step(f"stand-ins, made here, of {', '.join(made)}")
    with_grafana = can_be_pulled(GRAFANA)
    services = [name for name in project.compose("config", "--services").split() if with_grafana or name != "grafana"]
    project.compose("up", "--build", "--wait", *services)
    step("docker compose up, with the profile: " + ", ".join(each.name for each in project.containers()))
    if not with_grafana:
        step("Grafana's image cannot be pulled here: it and its provisioning were not run")
    course.looks_confined(project)
    _finds_a_trace(settings, step)
    _finds_replicas(project, settings, services, step)


def _finds_a_trace(settings: dict[str, str], step: Step) -> None:
    jaeger = Jaeger(f"http://127.0.0.1:{settings['JAEGER_PORT']}")
    trace_id = secrets.token_hex(16)
    headers = {
        "Authorization": f"Bearer {secrets_of(settings)['api_key']}",
        "traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01",
        "Idempotency-Key": str(uuid.uuid4()),
    }
    # It fails once, so the Collector keeps it whatever else it leaves out.
    task = {"type": "demo.fail", "payload": {"times": 1}}
    accepted = fetch(f"{settings['MILEPOST_URL']}/v1/tasks", body=task, headers=headers)
    wait_for(
        f"trace {trace_id} with spans of three services", lambda: set(jaeger.services_in(trace_id)) >= SERVICES, SEEN_S
    )
    spans = ", ".join(f"{count} of {name}" for name, count in sorted(jaeger.services_in(trace_id).items()))
    step(f"Jaeger has the trace of task {accepted['id']}: {spans}")


def _finds_replicas(project: Project, settings: dict[str, str], services: list[str], step: Step) -> None:
    prometheus = Prometheus(f"http://127.0.0.1:{settings['PROMETHEUS_PORT']}")
    scale = [f"--scale={service}={count}" for service, count in MORE.items()]
    project.compose("up", "--wait", "--no-recreate", *scale, *services)

    def all_up() -> bool:
        targets = prometheus.targets()
        every = all(told == "up" for job in targets.values() for told in job)
        return every and all(len(targets.get(service, ())) == count for service, count in MORE.items())

    try:
        wait_for("Prometheus to have every replica up", all_up, SEEN_S)
    except Failed as late:
        raise Failed(f"{late}: {prometheus.targets()}") from None
    step(f"Prometheus has every target up: { {job: len(told) for job, told in sorted(prometheus.targets().items())} }")
    wait_for("the count of submitted tasks", lambda: prometheus.query("milepost_submitted_total > 0"), SEEN_S)
    step(f"it has the submitted task in milepost_submitted_total, and {prometheus.rules()} rules without an error")


if __name__ == "__main__":
    sys.exit(
        tried(
            "deploy/try-observability",
            __doc__,
            "milepost-look",
            NETWORK,
            look,
            COMPOSE_PROFILES="observability",
            OTEL_EXPORTER_OTLP_ENDPOINT="http://otel-collector:4318",
            OTELCOL_DECISION_WAIT="15s",
            JAEGER_PORT=free_port(),
            PROMETHEUS_PORT=free_port(),
            GRAFANA_PORT=free_port(),
        ),
    )
