"""The settings of all services, from MILEPOST_* variables and, in development, a `.env` file."""

import difflib
import os
import re
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv import dotenv_values
from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from milepost.errors import SettingsError
from milepost.runtime.contradictions import contradictions
from milepost.runtime.secret_files import SUFFIX, read_secrets, secret_names

_PREFIX = "MILEPOST_"
_OF_OTHERS = {"MILEPOST_KAFKA_JARS", "MILEPOST_MAVEN_REPOSITORY"}
"""Read where Kafka's jars are fetched for development, and nowhere else."""


_SCHEMES = {
    "database_url": ("postgresql", "postgres"),
    "redis_url": ("redis", "rediss", "unix"),
    "url": ("http", "https"),
    "stream_url": ("ws", "wss"),
    "events_url": ("http", "https"),
}


def _split(value: object) -> object:
    if isinstance(value, str):
        return [part.strip() for part in re.split(r"[,\n]", value) if part.strip()]
    return value


Words = Annotated[list[str], NoDecode, BeforeValidator(_split)]
"""A list written with commas."""
Secrets = Annotated[list[SecretStr], NoDecode, BeforeValidator(_split)]
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_SERVER = re.compile(r"(?:\[([0-9a-fA-F.]*:[0-9a-fA-F:.]+)\]|([0-9.]+)):([0-9]{1,5})")
SECRET_BYTES = 32
"""A secret that signs is at least as long as what HMAC-SHA256 makes of it."""


RETENTION_S = 3600.0
"""No finished task is deleted earlier: so long its live snapshot is kept, and clients may repeat what they sent."""
CENTURY_S = 100 * 366 * 86_400.0


def _ever(value: object) -> object:
    return None if value == "forever" else value


Kept = Annotated[float | None, BeforeValidator(_ever)]
"""Seconds that something is kept; None, written `forever`: always."""


class Settings(BaseSettings):
    """One reference for the api, the workers and the notifiers. Durations are seconds."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_file=".env", extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )

    database_url: SecretStr = Field(
        default=SecretStr("postgresql://milepost@127.0.0.1:5432/milepost"), description="Postgres, as a URL."
    )
    kafka_bootstrap: str = Field(default="127.0.0.1:9092", description="Kafka brokers, host:port with commas.")
    redis_url: SecretStr = Field(default=SecretStr("redis://127.0.0.1:6379/0"), description="Redis or Valkey.")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="How brokers are spoken to."
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="SCRAM-SHA-512", description="With SASL: how the password is shown; PLAIN only over TLS."
    )
    kafka_sasl_username: str | None = Field(default=None, description="With SASL: who we are.")
    kafka_sasl_password: SecretStr | None = Field(default=None, description="With SASL: the password.")
    kafka_ssl_cafile: Path | None = Field(
        default=None, description="Certificates that sign the brokers'; unset: those of the system."
    )
    kafka_ssl_certfile: Path | None = Field(
        default=None, description="Our own certificate, with its chain, for brokers that ask for one."
    )
    kafka_ssl_keyfile: Path | None = Field(default=None, description="Its key, if that is in a file of its own.")
    kafka_replication: int = Field(default=1, ge=1, description="Replicas of topics that migrate makes.")
    kafka_partitions: int = Field(
        default=8, ge=1, description="Partitions of work and event topics that migrate makes."
    )
    topic_prefix: str = Field(
        default="milepost", pattern=r"^[A-Za-z0-9._-]{1,60}$", description="Begins names of topics and consumer groups."
    )

    host: str = Field(default="127.0.0.1", description="Address the api and the notifier listen on.")
    api_port: int = Field(default=8000, ge=0, le=65535, description="The HTTP API.")
    notifier_port: int = Field(default=8001, ge=0, le=65535, description="WebSocket.")
    notifier_http_port: int = Field(
        default=8002, ge=0, le=65535, description="Server-sent events, livez, readyz, metrics."
    )
    url: str = Field(default="http://127.0.0.1:8000", description="Where clients reach the api.")
    stream_url: str = Field(default="ws://127.0.0.1:8001/v1/stream", description="Where clients reach the notifier.")
    events_url: str = Field(
        default="http://127.0.0.1:8002", description="Where clients reach the notifier's server-sent events."
    )
    allowed_origins: Words = Field(
        default_factory=list, description="Origins of pages that may open a stream or call the api; exact."
    )

    pages: Annotated[list[Path], NoDecode, BeforeValidator(_split)] = Field(
        default_factory=list, description="Folders of pages that the api shows at /try/, for development."
    )

    api_key: SecretStr | None = Field(default=None, description="The key of the own tenant, with all scopes.")
    tenant: str = Field(
        default="default",
        pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$",
        description="The installation's own tenant, that of the key.",
    )

    quota_requests: int | None = Field(
        default=None, ge=1, description="Requests a tenant may make at once; unset: any number."
    )
    quota_requests_per: float = Field(
        default=60.0, ge=1, le=86_400, description="… and again after so many seconds; they come back bit by bit."
    )
    quota_queued: int | None = Field(default=None, ge=0, description="Tasks of a tenant that may wait to be started.")
    quota_queued_bytes: int | None = Field(default=None, ge=0, description="Bytes of their payloads.")

    token_secret: SecretStr | None = Field(
        default=None, description="Signs watch tokens, 32 bytes or more; unset: made from the API key."
    )
    token_secrets_old: Secrets = Field(
        default_factory=list, description="Secrets of before, whose tokens are still accepted; with commas."
    )

    max_connections: int = Field(default=10_000, ge=1, description="Stream clients of one notifier.")
    max_connections_per_address: int | None = Field(
        default=None, ge=1, description="Of one address; unset: 1,000, and any number from this machine."
    )
    max_new_connections_per_second: float | None = Field(
        default=None,
        gt=0,
        description="Of one address, after a burst of as many as it may have; unset: 20, this machine any number.",
    )
    max_connections_per_tenant: int = Field(default=10_000, ge=1, description="Of one tenant.")
    max_pending_hellos: int = Field(
        default=2_500, ge=1, description="Clients that have not said who they are; beyond that the oldest is cut off."
    )
    max_frames_per_second: float = Field(
        default=100.0, gt=0, description="Frames a stream client may send, after a burst that fits max_subscriptions."
    )
    trusted_proxies: Words = Field(
        default_factory=list, description="Addresses or networks whose X-Forwarded-For counts; with commas."
    )
    max_subscriptions: int = Field(default=1_000, ge=1, description="Tasks one stream connection may watch at once.")

    tasks: Words = Field(default_factory=list, description="Modules with tasks, for workers.")
    queues: Words = Field(default_factory=list, description="Queues a worker serves; empty: those of its tasks.")
    concurrency: int = Field(default=16, ge=1, le=10_000, description="Tasks a worker process runs at once.")
    lease: float = Field(default=15.0, gt=0, description="A claim that is not renewed for so long is taken back.")
    renew: float = Field(default=5.0, gt=0, description="Claims are renewed this often.")
    steal_after: float = Field(default=1.0, gt=0, description="Queued for longer: any free worker may take it.")
    presence: bool = Field(
        default=True, description="Workers hold a session lock in Postgres; off behind a pooler of transactions."
    )
    block_limit: float = Field(
        default=30.0, gt=0, description="A handler that blocks its worker's loop for longer loses its task."
    )
    process_nice: int = Field(
        default=10, ge=0, le=19, description="Handlers in processes leave the processor to services by so much (nice)."
    )
    worker_http_port: int | None = Field(
        default=None, ge=0, le=65535, description="livez, readyz and metrics of a worker; none: it does not listen."
    )
    metrics_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="/metrics alone, without a key; of several processes the first of as many ports. None: see docs.",
    )
    drain: float = Field(default=10.0, ge=0, description="After SIGTERM tasks have so long to end before release.")
    retry_base: float = Field(default=1.0, gt=0, description="First retry waits up to this; it doubles from there.")
    retry_cap: float = Field(default=300.0, gt=0, description="No retry waits longer.")

    retention: Kept = Field(
        default=30 * 86_400.0,
        ge=RETENTION_S,
        le=CENTURY_S,
        description="Tasks that succeeded or were cancelled are deleted so long after their end; forever: never.",
    )
    retention_failed: Kept = Field(
        default=90 * 86_400.0, ge=RETENTION_S, le=CENTURY_S, description="Tasks that failed; forever: never."
    )
    retention_rate: float = Field(
        default=500.0,
        ge=1,
        le=100_000,
        description="So many old tasks are deleted a second at most, by all workers together.",
    )

    webhooks: bool = Field(default=True, description="Whether this worker sends webhooks, beside its tasks.")
    webhook_timeout: float = Field(default=15.0, gt=0, le=60, description="A receiver has so long to answer.")
    webhook_http: bool = Field(default=False, description="Webhooks may go to http:// too: for development.")
    webhook_ports: Words = Field(
        default_factory=lambda: ["443", "8443"], description="Ports webhooks may go to, with commas; *: any."
    )
    webhook_networks: Words = Field(
        default_factory=list,
        description="Networks that are not public and that webhooks of every tenant may be sent to; with commas.",
    )
    webhook_nameservers: Words = Field(
        default_factory=list, description="DNS servers for names of receivers, with commas; unset: the system's."
    )
    webhook_cafile: Path | None = Field(
        default=None, description="Authorities whose certificates receivers may have; unset: the system's."
    )

    trace_runs: Literal["child", "linked"] = Field(
        default="child",
        description="A run of a task is a part of the trace of its submission, or a trace of its own that links to it.",
    )

    home: Path = Field(default=Path(".milepost"), description="Development data: servers, logs, key, pid files.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="What is less is not logged."
    )
    log_format: Literal["auto", "json", "console"] = Field(default="auto", description="auto: console on a terminal.")

    @field_validator("webhook_ports")
    @classmethod
    def _are_ports(cls, given: list[str]) -> list[str]:
        for port in given:
            if port != "*" and not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
                raise ValueError(f"{port} is not a port; write numbers, or * for any")
        return given

    @field_validator("trusted_proxies", "webhook_networks")
    @classmethod
    def _are_networks(cls, given: list[str]) -> list[str]:
        for network in given:
            ip_network(network, strict=False)
        return given

    @field_validator("webhook_nameservers")
    @classmethod
    def _are_servers(cls, given: list[str]) -> list[str]:
        for server in given:
            if not _is_server(server):
                raise ValueError(f"{server} is no server; write addresses: 10.0.0.53, 10.0.0.53:5353 or [fd00::53]:53")
        return given

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, given: list[str]) -> list[str]:
        for origin in given:
            if _ORIGIN.fullmatch(origin) is None:
                raise ValueError(
                    f"{origin!r} is no origin. Write each as a browser sends it, in lower case and without a path: "
                    "https://app.example or http://localhost:8080. There is no * and no null: each page is named"
                )
        return given

    @field_validator("token_secret", "token_secrets_old")
    @classmethod
    def _long_enough(cls, given: Any) -> Any:
        for secret in given if isinstance(given, list) else [given]:
            if secret is not None and len(secret.get_secret_value().encode()) < SECRET_BYTES:
                raise ValueError(f"is shorter than {SECRET_BYTES} bytes. Make one with: openssl rand -base64 32")
        return given

    @field_validator("database_url", "redis_url", "url", "stream_url", "events_url")
    @classmethod
    def _is_address(cls, given: SecretStr | str, info: ValidationInfo) -> SecretStr | str:
        schemes = _SCHEMES[info.field_name or ""]
        text = given if isinstance(given, str) else given.get_secret_value()
        if text.partition("://")[0] not in schemes:  # the address itself may hold a password
            raise ValueError(f"should begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        return given

    @model_validator(mode="after")
    def _agree(self) -> "Settings":
        if found := list(contradictions(self)):
            raise ValueError("\n".join(found))
        return self

    @classmethod
    def load(cls, **overrides: Any) -> "Settings":
        """Read the environment, `.env` and files of secrets; `overrides` win.

        Raises SettingsError with one readable message, which shows no secret.
        """
        secrets = secret_names(cls.model_fields)
        names = {_PREFIX + name.upper() for name in cls.model_fields}
        files = {_PREFIX + name.upper() + SUFFIX for name in secrets}
        rows = _unknown(os.environ, names | files | _OF_OTHERS)
        values, unread = read_secrets(
            secrets, {**_in_env_file(cls.model_config.get("env_file")), **os.environ}, _PREFIX
        )
        rows += unread
        try:
            settings = cls(**{**values, **overrides})
            if not rows:
                return settings
        except ValidationError as error:
            for finding in error.errors(include_url=False, include_input=False):
                text = finding["msg"].removeprefix("Value error, ")
                if finding["loc"]:
                    rows.append(f"  {_PREFIX}{str(finding['loc'][0]).upper()}: {text}")
                else:
                    rows += [f"  {line}" for line in text.splitlines()]
        raise SettingsError("These settings are not valid; nothing was started.\n" + "\n".join(rows))


def _in_env_file(path: Any) -> dict[str, str | None]:
    return dotenv_values(path) if path else {}


def _is_server(text: str) -> bool:
    """Whether this is an address, with a port or without."""
    match = _SERVER.fullmatch(text)
    if match is not None and not 0 < int(match[3]) < 65536:
        return False
    try:
        ip_address(text if match is None else match[1] or match[2])
    except ValueError:
        return False
    return True


def _unknown(variables: Iterable[str], known: set[str]) -> list[str]:
    """Return a row for each variable of ours that means nothing: most likely a misspelt one."""
    rows = []
    for name in sorted(variables):
        if name.startswith(_PREFIX) and name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            rows.append(f"  {name}: there is no such setting" + (f"; did you mean {close[0]}?" if close else ""))
    return rows
