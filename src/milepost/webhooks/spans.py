"""How the sending of a webhook looks in the trace of its task, by OpenTelemetry's conventions for HTTP clients."""

from functools import lru_cache
from urllib.parse import urlsplit
from uuid import UUID

from opentelemetry.trace import SpanKind

from milepost.domain.delivering import Answered
from milepost.runtime import otlp
from milepost.runtime.tracing import failed, of_task, record, recorded
from milepost.store.webhooks import Delivery


@lru_cache(256)
def _shape(host: str, port: int) -> bytes:
    static = {"http.request.method": "POST", "server.address": host, "server.port": port}
    return otlp.shape("POST webhook", SpanKind.CLIENT, tuple(static.items()))


def sent(delivery: Delivery, answered: Answered, began_ns: int) -> None:
    """Record one attempt at a delivery. A ping is of no task, and so in no trace.

    Of the URL only the host: what stands behind it is often a secret. The receiver is told of no trace.
    """
    row = delivery.row
    if row is None or not recorded(row["traceparent"]):
        return
    url = urlsplit(delivery.url)
    host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    tries, status = delivery.tries - 1, answered.status
    why = None if answered.good else str(status or "no answer")
    named = host, port, row["id"], row["tenant"], delivery.webhook_id, tries, status, why, answered.error or ""
    record(_sent, None, row["traceparent"], began_ns, 0, *named)


def _sent(
    host: str,
    port: int,
    task: UUID,
    tenant: str,
    webhook: UUID,
    tries: int,
    status: int | None,
    why: str | None,
    error: str,
) -> bytes:
    return b"".join(
        (
            _shape(host, port),
            of_task(task, tenant),
            otlp.attribute("milepost.webhook.id", str(webhook)),
            otlp.known("http.request.resend_count", tries) if tries > 0 else b"",
            b"" if status is None else otlp.known("http.response.status_code", status),
            b"" if why is None else failed(why, error),
        )
    )
