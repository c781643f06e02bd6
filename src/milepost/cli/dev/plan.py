"""What is to run: ports, tasks, key, and the variables the services get."""

import json
import os
import secrets
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from milepost.client.address import ENVIRONMENT_FILE, KEY_FILE, read_key
from milepost.embedded import PortInUse
from milepost.embedded.ports import LOOPBACK, allocate
from milepost.errors import SettingsError
from milepost.runtime.settings import Settings

BUILT_IN: Final = "milepost.demo"
EXAMPLE: Final = "examples.repository_analysis"
PAGES: Final = ("examples/browser", "clients/browser/dist")
METRICS_FILE: Final = Path("run", "metrics.json")
DRAIN_S: Final = 2.0
"""How long workers wait for tasks when they are stopped or reloaded, unless MILEPOST_DRAIN says otherwise."""


@dataclass(frozen=True, slots=True)
class NotifierPorts:
    """Where one notifier listens."""

    stream: int
    http: int


@dataclass(frozen=True, slots=True)
class MetricsPorts:
    """Where the api and the workers show metrics: that of the api needs no key, for it is for this machine alone."""

    api: int
    workers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole stand. The first notifier is the one that clients are told of."""

    home: Path
    tasks: tuple[str, ...]
    workers: int
    api_port: int
    notifiers: tuple[NotifierPorts, ...]
    metrics: MetricsPorts
    key: str
    drain: float
    pages: tuple[Path, ...] = ()
    """Folders of what the api shows at /try/."""
    origins: tuple[str, ...] = ()
    """Those of other pages that are let in."""

    @property
    def url(self) -> str:
        """The API's address."""
        return f"http://{LOOPBACK}:{self.api_port}"

    @property
    def stream_url(self) -> str:
        """The first notifier's address."""
        return f"ws://{LOOPBACK}:{self.notifiers[0].stream}/v1/stream"

    @property
    def events_url(self) -> str:
        """The first notifier's address for server-sent events."""
        return f"http://{LOOPBACK}:{self.notifiers[0].http}"

    @property
    def page_url(self) -> str | None:
        """The page to try things with; None where there is none. What is behind the # stays in the browser."""
        return f"{self.url}/try/#key={self.key}" if self.pages else None

    @property
    def scraped(self) -> list[dict[str, object]]:
        """What `run/metrics.json` holds: every page of metrics, as Prometheus' file_sd_configs read it."""
        ports = {"api": (self.metrics.api,), "worker": self.metrics.workers}
        ports["notifier"] = tuple(notifier.http for notifier in self.notifiers)
        return [
            {"targets": [f"{LOOPBACK}:{port}" for port in each], "labels": {"job": job}} for job, each in ports.items()
        ]

    def environment(self, servers: Mapping[str, str]) -> dict[str, str]:
        """Return what `run/env` holds; `servers` are the addresses of Kafka, Postgres and Redis."""
        return {
            **servers,
            "MILEPOST_URL": self.url,
            "MILEPOST_STREAM_URL": self.stream_url,
            "MILEPOST_EVENTS_URL": self.events_url,
            "MILEPOST_API_KEY": self.key,
            "MILEPOST_API_PORT": str(self.api_port),
            "MILEPOST_NOTIFIER_PORT": str(self.notifiers[0].stream),
            "MILEPOST_NOTIFIER_HTTP_PORT": str(self.notifiers[0].http),
            "MILEPOST_TASKS": ",".join(self.tasks),
            "MILEPOST_HOME": str(self.home),
        }

    def service_environment(self, servers: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
        """Return the whole environment of a service; `given` is ours."""
        origins = (self.url, f"http://localhost:{self.api_port}", *self.origins)
        return {
            # One port for all services is one too few; each gets its own.
            **{name: value for name, value in given.items() if name != "MILEPOST_METRICS_PORT"},
            **self.environment(servers),
            "MILEPOST_ALLOWED_ORIGINS": ",".join(origins),
            "MILEPOST_DRAIN": f"{self.drain:g}",
            "MILEPOST_HOST": LOOPBACK,
            "MILEPOST_PAGES": ",".join(map(str, self.pages)),
            # The servers here speak plainly, whatever the settings for others in .env say.
            "MILEPOST_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",
            "MILEPOST_KAFKA_REPLICATION": "1",
            # Receivers of webhooks are tried on this machine; what was set for others is not for here.
            "MILEPOST_WEBHOOK_HTTP": "true",
            "MILEPOST_WEBHOOK_PORTS": "*",
            "MILEPOST_WEBHOOK_NETWORKS": "127.0.0.0/8,::1/128",
            "PYTHONUNBUFFERED": "1",
        }


def make_plan(settings: Settings, *, tasks: str | None, workers: int, notifiers: int, port_base: int | None) -> Plan:
    """Decide what runs where. Raises SettingsError for a port in use."""
    home = settings.home.expanduser().absolute()
    ports = _ports(settings, home, workers, notifiers, port_base)
    return Plan(
        home=home,
        tasks=choose_tasks(Path.cwd(), [*_words(tasks), *settings.tasks]),
        workers=workers,
        api_port=ports["api"],
        notifiers=tuple(
            NotifierPorts(ports[f"notifier-{index}"], ports[f"notifier-{index}-http"]) for index in range(notifiers)
        ),
        metrics=MetricsPorts(ports["api-metrics"], tuple(ports[f"worker-{index}-http"] for index in range(workers))),
        key=ensure_key(home, settings),
        pages=choose_pages(Path.cwd()),
        origins=tuple(settings.allowed_origins),
        drain=settings.drain if "drain" in settings.model_fields_set else DRAIN_S,
    )


def choose_tasks(folder: Path, more: Iterable[str]) -> tuple[str, ...]:
    """Return the modules with tasks: the built-in ones, the example if it stands in the folder, and `more`."""
    example = (folder / Path(*EXAMPLE.split(".")) / "__init__.py").is_file()
    return tuple(dict.fromkeys([BUILT_IN, *([EXAMPLE] if example else []), *more]))


def choose_pages(folder: Path) -> tuple[Path, ...]:
    """Return the folders of the page to try things with, if it stands in the folder; empty without it."""
    places = tuple(folder / place for place in PAGES)
    return places if all(place.is_dir() for place in places) else ()


def ensure_key(home: Path, settings: Settings) -> str:
    """Return the key of this home; it is made once, and MILEPOST_API_KEY takes its place."""
    given = settings.api_key.get_secret_value() if settings.api_key else None
    kept = read_key(home)
    key = given or kept or f"mp_dev_{secrets.token_urlsafe(32)}"
    if key != kept:
        home.mkdir(parents=True, exist_ok=True)
        write_private(home / KEY_FILE, key + "\n")
    return key


def write_scraped(home: Path, pages: Sequence[Mapping[str, object]]) -> None:
    """Write `run/metrics.json`."""
    write_private(home / METRICS_FILE, json.dumps(pages, indent=2) + "\n")


def write_environment(home: Path, variables: Mapping[str, str]) -> None:
    """Write `run/env`, for shells to source and for the client to find the stack."""
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()]
    write_private(home / ENVIRONMENT_FILE, "".join(lines))


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)


def _ports(settings: Settings, home: Path, workers: int, notifiers: int, base: int | None) -> dict[str, int]:
    first = (settings.api_port, settings.notifier_port, settings.notifier_http_port)
    if base is not None:
        first = (base, base + 1, base + 2)
    named = dict(zip(("api", "notifier-0", "notifier-0-http"), first, strict=True))
    more = [f"notifier-{index}{kind}" for index in range(1, notifiers) for kind in ("", "-http")]
    more += ["api-metrics", *(f"worker-{index}-http" for index in range(workers))]
    try:
        return allocate(more, named, home / "run" / "ports.json")
    except PortInUse as error:
        by = f" by {error.owner}" if error.owner else ""
        raise SettingsError(
            f"Port {error.port}, for {error.name}, is in use{by}. Stop what listens there, or choose other ports: "
            f"--port-base {error.port + 1000 if error.port < 60000 else 8100} takes that one and the next two. "
            "Nothing was started."
        ) from error


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]
