"""What docker-compose.yml promises of every service, so that one that is added keeps it."""

import re
from typing import Any

import pytest
import yaml

from milepost.runtime.secret_files import SUFFIX, secret_names
from milepost.runtime.settings import Settings
from tests.longest_stops import longest_stop_s
from tests.system import ROOT

TEXT = (ROOT / "docker-compose.yml").read_text()
FILE = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
SECRETS: dict[str, dict[str, str]] = FILE["secrets"]
STAYING = {name: service for name, service in SERVICES.items() if service["restart"] != "no"}

WRITES_ITS_ROOT = {"kafka"}
"""Its image writes its configuration beside its program."""
BEGINS_AS_ROOT = {"postgres"}
"""Its entry point gives the volume to its user, and becomes that user."""
CANNOT_BE_ASKED = {"otel-collector"}
"""Its image holds its program and nothing that could ask it."""
OURS = "${MILEPOST_IMAGE_PREFIX"
NOT_OF_THE_INSTALLATION = {"BUILD_NETWORK", "TERM", "OTELCOL_DECISION_WAIT"}
WRITTEN_BY_MAKE_ENV = {"SECRETS_DIR"}
MOUNTED = "/run/secrets/"


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert ("cap_add" in service) == (name in BEGINS_AS_ROOT)
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is (name not in WRITES_ITS_ROOT)
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert not service.get("privileged")
    assert not any("docker.sock" in volume for volume in service.get("volumes", ()))


@pytest.mark.parametrize("name", STAYING)
def test_what_stays_comes_back_and_can_be_asked_how_it_is(name: str) -> None:
    service = STAYING[name]
    assert service["restart"] == "unless-stopped"
    assert service["stop_grace_period"]
    # Ours may leave the question to its image.
    assert "healthcheck" in service or name in CANNOT_BE_ASKED


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_opened_on_this_machine_alone(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", ()))


def test_replicas_have_no_port_of_the_machine() -> None:
    assert not any("ports" in SERVICES[name] for name in ("api", "notifier", "worker"))


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if OURS not in service["image"]])
def test_images_of_others_are_named_by_version(name: str) -> None:
    tag = SERVICES[name]["image"].partition(":")[2]
    assert re.match(r"v?\d", tag), "without a version an image changes under the installation"


def test_everything_that_can_be_set_is_in_the_example() -> None:
    used = set(re.findall(r"\$\{([A-Z_]+)", TEXT)) - NOT_OF_THE_INSTALLATION - WRITTEN_BY_MAKE_ENV
    shown = set(re.findall(r"^(?:# )?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert used == shown - {"COMPOSE_PROFILES"}


def test_secrets_are_files_and_in_no_environment() -> None:
    for secret in SECRETS.values():
        assert secret.keys() == {"file"}, "of another source Compose would have it in its own configuration"
    ours = {f"MILEPOST_{name.upper()}" for name in secret_names(Settings.model_fields)} - {"MILEPOST_REDIS_URL"}
    for name, service in SERVICES.items():
        environment: dict[str, Any] = service.get("environment", {})
        assert not ours & environment.keys(), name
        assert "@" not in environment.get("MILEPOST_REDIS_URL", ""), f"{name}: an address with a password"
        named = {value.removeprefix(MOUNTED) for value in environment.values() if str(value).startswith(MOUNTED)}
        read = set(re.findall(MOUNTED + r"(\w+)", " ".join(map(str, service.get("entrypoint", ())))))
        assert named | read == set(service.get("secrets", ())), (
            f"{name} has a secret it does not read, or reads one it lacks"
        )
        for variable in environment:
            if re.search(r"PASSWORD|SECRET|TOKEN|API_KEY", variable):
                assert variable.endswith(SUFFIX), f"{name}: {variable}"
    used = {secret for service in SERVICES.values() for secret in service.get("secrets", ())}
    assert used == SECRETS.keys()


@pytest.mark.parametrize("name", ["api", "notifier", "worker"])
def test_each_has_longer_to_stop_than_it_takes_at_most(name: str) -> None:
    """Without this Docker kills a worker that gives tasks back, and a notifier that has clients to send away."""
    service = SERVICES[name]
    variables = {variable: _by_default(value) for variable, value in service["environment"].items()}
    grace = float(_by_default(service["stop_grace_period"]).removesuffix("s"))
    assert grace >= longest_stop_s(name, variables)


def _by_default(text: object) -> str:
    """Return what Compose makes of a value when `.env` says nothing."""
    return re.sub(r"\$\{[A-Z_]+:-(.*?)\}", r"\1", str(text))


def test_the_proxy_is_believed_by_the_address_it_has() -> None:
    address = SERVICES["proxy"]["networks"]["edge"]["ipv4_address"]
    for name in ("api", "notifier"):
        assert SERVICES[name]["environment"]["MILEPOST_TRUSTED_PROXIES"] == f"${{MILEPOST_TRUSTED_PROXIES:-{address}}}"


def test_prometheus_looks_for_every_service_of_ours() -> None:
    jobs = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    asked = [asked for job in jobs for asked in job.get("dns_sd_configs", ())]
    assert {name for each in asked for name in each["names"]} == {"api", "notifier", "worker"}
    for each in asked:
        for name in each["names"]:
            assert each["port"] == SERVICES[name]["environment"]["MILEPOST_METRICS_PORT"]
            assert set(SERVICES[name]["networks"]) & set(SERVICES["prometheus"]["networks"])


def test_graphs_lead_to_traces() -> None:
    folder = ROOT / "deploy" / "grafana" / "provisioning" / "datasources"
    sources = {each["uid"]: each for each in yaml.safe_load((folder / "milepost.yaml").read_text())["datasources"]}
    [link] = sources["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert link["name"] == "trace_id"
    assert sources[link["datasourceUid"]]["type"] == "jaeger"
