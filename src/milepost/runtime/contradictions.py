"""Settings that are valid each by itself and cannot be meant together. Pure, but for a look whether files are there."""

import os
from collections.abc import Iterator
from ipaddress import ip_network
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from milepost.runtime.settings import Settings

_FILES: Final = ("kafka_ssl_cafile", "kafka_ssl_certfile", "kafka_ssl_keyfile")
_AT_MOST: Final = (
    ("max_connections_per_address", "max_connections"),
    ("max_connections_per_tenant", "max_connections"),
    ("max_pending_hellos", "max_connections"),
    ("retention", "retention_failed"),
    ("retry_base", "retry_cap"),
)
"""The first is at most the second, where somebody set both."""
_APART: Final = ("api_port", "notifier_port", "notifier_http_port", "worker_http_port")


def contradictions(settings: "Settings") -> Iterator[str]:
    """Yield a sentence for each contradiction; it names the variables and says what to do."""
    yield from _times(settings)
    yield from _kafka(settings)
    yield from _doors(settings)
    for less, more in _AT_MOST:
        if settings.model_fields_set >= {less, more}:
            a, b = getattr(settings, less), getattr(settings, more)
            if a is None and less != "retention":  # which is for ever then; of the others it is their default
                continue
            if b is not None and (a is None or a > b):
                yield f"{_said(less, a)} is more than {_said(more, b)}; it can be as much at most"


def _times(s: "Settings") -> Iterator[str]:
    if s.lease < 2 * s.renew:
        yield (
            f"MILEPOST_LEASE ({s.lease:g} s) must be at least twice MILEPOST_RENEW ({s.renew:g} s), "
            "or one late renewal loses every running task"
        )
    if s.retry_base > s.retry_cap and not s.model_fields_set >= {"retry_base", "retry_cap"}:
        yield f"{_said('retry_base', s.retry_base)} is more than {_said('retry_cap', s.retry_cap)}; set both"


def _kafka(s: "Settings") -> Iterator[str]:
    protocol = f"MILEPOST_KAFKA_SECURITY_PROTOCOL is {s.kafka_security_protocol}"
    credentials = {"kafka_sasl_username": s.kafka_sasl_username, "kafka_sasl_password": s.kafka_sasl_password}
    if s.kafka_security_protocol.startswith("SASL"):
        for name in (name for name, value in credentials.items() if not value):
            yield f"{protocol}, and {_variable(name)} is missing"
        if s.kafka_sasl_mechanism == "PLAIN" and s.kafka_security_protocol == "SASL_PLAINTEXT":
            yield (
                f"{protocol}, and MILEPOST_KAFKA_SASL_MECHANISM PLAIN would send the password unciphered; "
                "use SASL_SSL, or one of SCRAM"
            )
    else:
        for name in (name for name, value in credentials.items() if value):
            yield f"{protocol}, and {_variable(name)} is given; use SASL_SSL, or leave it out"
    files = {name: path for name in _FILES if (path := getattr(s, name)) is not None}
    if not s.kafka_security_protocol.endswith("SSL"):
        for name in files:
            yield f"{protocol}, and {_variable(name)} is given; use SSL or SASL_SSL, or leave it out"
        return
    if "kafka_ssl_keyfile" in files and "kafka_ssl_certfile" not in files:
        yield "MILEPOST_KAFKA_SSL_KEYFILE is given, and MILEPOST_KAFKA_SSL_CERTFILE, whose key it is, is missing"
    for name, path in files.items():
        if not os.access(path, os.R_OK):
            yield f"{protocol}, and {_variable(name)} ({path}) cannot be read; is it there, and ours to read?"


def _doors(s: "Settings") -> Iterator[str]:
    if s.notifier_port == s.notifier_http_port != 0:
        yield (
            f"{_said('notifier_port', s.notifier_port)} and MILEPOST_NOTIFIER_HTTP_PORT are the same; "
            "one is for WebSockets, the other for HTTP"
        )
    if s.metrics_port:
        for name in _APART:
            if name in s.model_fields_set and getattr(s, name) == s.metrics_port:
                yield f"{_said('metrics_port', s.metrics_port)} and {_variable(name)} are the same"
    if s.url.startswith("https://"):
        for name, insecure in (("stream_url", "ws://"), ("events_url", "http://")):
            address: str = getattr(s, name)
            if s.model_fields_set >= {"url", name} and address.startswith(insecure):
                yield (
                    f"MILEPOST_URL begins with https:// and {_variable(name)} with {insecure}, "
                    "which no browser opens from there"
                )
    everybody = [each for each in s.trusted_proxies if ip_network(each, strict=False).prefixlen == 0]
    if everybody and s.max_connections_per_address is not None:
        yield (
            f"MILEPOST_TRUSTED_PROXIES trusts everybody ({everybody[0]}) to say what address it has, so "
            f"{_said('max_connections_per_address', s.max_connections_per_address)} would hold nobody; name proxies"
        )


def _said(name: str, value: object) -> str:
    return f"{_variable(name)} ({'forever' if value is None else f'{value:g}'})"


def _variable(name: str) -> str:
    return f"MILEPOST_{name.upper()}"
