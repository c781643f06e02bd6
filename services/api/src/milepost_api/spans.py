"""How the span of a request looks, by OpenTelemetry's conventions for HTTP servers."""

from functools import lru_cache

from opentelemetry.trace import SpanKind
from starlette.types import Scope

from milepost.errors import MilepostError
from milepost.runtime import otlp
from milepost.runtime.tracing import failed, record


@lru_cache(512)
def _shape(method: str, route: str) -> bytes:
    static = {"http.request.method": method, "http.route": route, "url.scheme": "http"}
    return otlp.shape(f"{method} {route}", SpanKind.SERVER, tuple(static.items()))


def answered(
    me: str,
    parent: str | None,
    scope: Scope,
    route: str,
    began_ns: int,
    status: int,
    tenant: str | None,
    error: BaseException | None,
) -> None:
    """Record a request that was answered; `tenant` is None if nobody knows whose it was.

    The query and what stands in the path are left out: the caller wrote them, and may have put a secret there.
    """
    more = b""
    if status >= 500:
        said = str(error) if isinstance(error, MilepostError) else ""  # others may hold what is nobody's business
        more = failed(str(status) if error is None else type(error).__name__, said)
    version = scope.get("http_version", "1.1")
    record(_answered, me, parent, began_ns, 0, scope["method"], route, version, status, tenant, more)


def _answered(method: str, route: str, version: str, status: int, tenant: str | None, more: bytes) -> bytes:
    return b"".join(
        (
            _shape(method, route),
            otlp.known("http.response.status_code", status),
            otlp.known("network.protocol.version", version),
            b"" if tenant is None else otlp.known("milepost.tenant", tenant),
            more,
        )
    )
