"""docs/settings.md, made of the settings: `python -m milepost.runtime.settings_page [--check] docs/settings.md`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from milepost.runtime.secret_files import SUFFIX, secret_names
from milepost.runtime.settings import CENTURY_S, Settings

SERVICES: Final = "api, worker, notifier"
SECONDS: Final = "s"
BYTES: Final = "bytes"


class Group(NamedTuple):
    """Settings under one title: the services that use them, and each by name with its unit."""

    title: str
    services: str
    settings: dict[str, str]


GROUPS: Final = (
    Group("Servers", f"{SERVICES}, migrate", {"database_url": "", "kafka_bootstrap": "", "topic_prefix": ""}),
    Group("Redis", "api, notifier", {"redis_url": ""}),
    Group(
        "Kafka's connections",
        f"{SERVICES}, migrate",
        dict.fromkeys(
            (
                "kafka_security_protocol", "kafka_sasl_mechanism", "kafka_sasl_username", "kafka_sasl_password",
                "kafka_ssl_cafile", "kafka_ssl_certfile", "kafka_ssl_keyfile",
            ),
            "",
        ),
    ),
    Group("Kafka's topics", "worker, migrate", {"kafka_replication": "", "kafka_partitions": ""}),
    Group("Listening", "api, worker, notifier", {"host": "", "metrics_port": ""}),
    Group("The api's port", "api", {"api_port": ""}),
    Group("The notifier's ports", "notifier", {"notifier_port": "", "notifier_http_port": ""}),
    Group("A worker's port", "worker", {"worker_http_port": ""}),
    Group("Addresses, as links say them", "api, clients", {"url": "", "stream_url": "", "events_url": ""}),
    Group("Pages", "api, notifier", {"allowed_origins": ""}),
    Group(
        "Who gets in",
        "api, notifier",
        {"api_key": "", "tenant": "", "token_secret": "", "token_secrets_old": ""},
    ),
    Group(
        "Quotas of tenants",
        "api",
        {"quota_requests": "", "quota_requests_per": SECONDS, "quota_queued": "tasks", "quota_queued_bytes": BYTES},
    ),
    Group(
        "Clients of a notifier",
        "notifier",
        {
            "max_connections": "", "max_connections_per_address": "", "max_connections_per_tenant": "",
            "max_new_connections_per_second": "1/s", "max_pending_hellos": "", "max_frames_per_second": "1/s",
            "max_subscriptions": "", "trusted_proxies": "",
        },
    ),
    Group(
        "Running tasks",
        "worker",
        {
            "tasks": "", "queues": "", "concurrency": "tasks", "lease": SECONDS, "renew": SECONDS,
            "steal_after": SECONDS, "presence": "", "block_limit": SECONDS, "process_nice": "", "drain": SECONDS,
            "retry_base": SECONDS, "retry_cap": SECONDS,
        },
    ),
    Group(
        "Keeping tasks",
        "worker, api",
        {"retention": SECONDS, "retention_failed": SECONDS, "retention_rate": "1/s"},
    ),
    Group(
        "Webhooks",
        "worker",
        {
            "webhooks": "", "webhook_timeout": SECONDS, "webhook_http": "", "webhook_ports": "", "webhook_networks": "",
            "webhook_nameservers": "", "webhook_cafile": "",
        },
    ),
    Group("Tracing", "worker", {"trace_runs": ""}),
    Group("Logs", f"{SERVICES}, migrate", {"log_level": "", "log_format": ""}),
    Group("Development", "api, milepost dev, clients", {"home": "", "pages": ""}),
)  # fmt: skip
_HEAD: Final = f"""# Settings

Made of `src/milepost/runtime/settings.py` by `make settings-page`. All services read the same variables; under each
title stands who uses them. A variable that means nothing, does not fit or contradicts another stops the start, with one
message that names all that is wrong; `milepost doctor` says the same. An empty variable counts as not set. `.env` in
the folder of the start is read too, and counts less than the environment.

Lists are written with commas. A secret (marked \N{DAGGER}) can come from a file instead, as containers are given them:
its variable with `{SUFFIX}` behind it names the file; line ends at the end of that are no part of it. Giving both is
refused. Files are read when a process starts: restart it after a change.
"""


def page() -> str:
    """Return the page."""
    secret = set(secret_names(Settings.model_fields))
    return "\n".join([_HEAD, *(_section(group, secret) for group in GROUPS)])


def _section(group: Group, secret: set[str]) -> str:
    rows = [
        f"| `MILEPOST_{name.upper()}`{' †' if name in secret else ''} | {_default(field)} | {unit} | {_text(field)} |"
        for name, unit in group.settings.items()
        for field in (Settings.model_fields[name],)
    ]
    table = "| variable | default | unit | |\n|---|---|---|---|\n" + "\n".join(rows)
    return f"## {group.title}\n\nUsed by: {group.services}.\n\n{table}\n"


def _text(field: FieldInfo) -> str:
    said = (field.description or "").replace("|", "\\|")
    bounds = "; ".join(_bounds(field))
    return f"{said} ({bounds})" if bounds else said


def _bounds(field: FieldInfo) -> Iterator[str]:
    choices = [value for value in get_args(field.annotation) if isinstance(value, str)]
    if choices:
        yield ", ".join(f"`{value}`" for value in choices)
    least = next((value for each in field.metadata if (value := getattr(each, "ge", None)) is not None), None)
    above = next((value for each in field.metadata if (value := getattr(each, "gt", None)) is not None), None)
    most = next((value for each in field.metadata if (value := getattr(each, "le", None)) is not None), None)
    if most == CENTURY_S:
        most = None
    if above is not None:
        yield f"more than {above:,g}"
    if least and most is not None:
        yield f"{least:,g} to {most:,g}"
    elif least:
        yield f"{least:,g} at least"
    elif most is not None and most != 65535:
        yield f"{most:,g} at most"


def _default(field: FieldInfo) -> str:
    value: Any = field.get_default(call_default_factory=True)
    if value is None or value == []:
        return "none"
    match value:
        case bool():
            return f"`{str(value).lower()}`"
        case SecretStr():
            return f"`{value.get_secret_value()}`"
        case int() | float():
            return f"`{value:.10g}`"
        case list():
            return f"`{','.join(map(str, value))}`"
        case _:
            return f"`{value}`"


def main(argv: list[str]) -> int:
    """Write the page, or with --check say whether it is as it would be written; return the exit status."""
    path, check = Path(argv[-1]), "--check" in argv[:-1]
    if not check:
        path.write_text(page(), encoding="utf-8")
    elif path.read_text(encoding="utf-8") != page():
        sys.stderr.write(f"{path} is not what the settings say. Write it anew with: make settings-page\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
