"""The way of our own spans out of the process: a queue, a thread, OTLP over HTTP."""

import gzip
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final, cast
from urllib.parse import unquote

from milepost.runtime.logs import get_logger
from milepost.runtime.recorded import Recorded, encoded

QUEUE_MOST: Final = 16_384
BATCH: Final = 2_048
EVERY_MS: Final = 1_000
"""Unless OTEL_BSP_MAX_QUEUE_SIZE, OTEL_BSP_MAX_EXPORT_BATCH_SIZE and OTEL_BSP_SCHEDULE_DELAY say otherwise."""
REQUESTS_MOST: Final = 64
"""So many requests that other processes encoded may wait."""
TIMEOUT_S: Final = 10.0
STOP_S: Final = 5.0
SAID_AGAIN_S: Final = 60.0
_AGAIN: Final = (429, 502, 503, 504)
"""Statuses after which a request is worth trying again, by the protocol."""

log = get_logger("milepost.spanexport")


class SpanExport:
    """Takes spans from any thread, never waits, and drops what is too much."""

    def __init__(self, request: Callable[[Iterable[bytes]], bytes]) -> None:
        """`request` makes the body of a request of encoded spans."""
        self._request = request
        self._most = _number("OTEL_BSP_MAX_QUEUE_SIZE", QUEUE_MOST)
        self._batch = min(_number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BATCH), self._most)
        self._every_s = _number("OTEL_BSP_SCHEDULE_DELAY", EVERY_MS) / 1000
        self._spans: deque[Recorded] = deque()
        self._requests: deque[bytes] = deque()
        self._wake = threading.Event()
        self._stopping = False
        self._dropped = 0
        self._said_at = 0.0
        self._send = _Sender()
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
        self._thread.start()

    def add(self, span: Recorded) -> None:
        """Take a span."""
        if len(self._spans) >= self._most:
            self._dropped += 1
            return
        self._spans.append(span)
        if len(self._spans) >= self._batch and not self._wake.is_set():
            self._wake.set()

    def add_request(self, request: bytes) -> None:
        """Take spans that are a request already."""
        if len(self._requests) >= REQUESTS_MOST:
            self._dropped += 1
        else:
            self._requests.append(request)

    def stop(self) -> None:
        """Send what is left, and take no more. Bounded."""
        self._stopping = True
        self._wake.set()
        self._thread.join(STOP_S)

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(self._every_s)
            self._wake.clear()
            self._flush()
        self._flush()

    def _flush(self) -> None:
        while self._spans or self._requests:
            if self._spans:
                count = min(len(self._spans), self._batch)
                body = self._request(encoded(self._spans.popleft() for _ in range(count)))
            else:
                # By themselves: what a handler's process made may be nonsense, and spoil nobody else's.
                count, body = 1, self._requests.popleft()
            try:
                why = self._send(body)
            except Exception as error:  # noqa: BLE001 - whatever it is, the process has other things to do
                why = type(error).__name__
            if why is not None:
                self._dropped += count
                self._complain(why)
                return  # the others wait: there is most likely nobody
            if self._dropped:
                self._complain("more came than was taken")

    def _complain(self, why: str) -> None:
        now = time.monotonic()
        if not self._said_at or now - self._said_at > SAID_AGAIN_S:
            self._said_at = now
            log.warning("spans were dropped; the collector should say why", why=why, spans=self._dropped)
            self._dropped = 0


class _Sender:
    """Posts to where the OTEL_EXPORTER_OTLP_* variables say. Used by one thread."""

    def __init__(self) -> None:
        import urllib3

        timeout_s = float(_told("TIMEOUT") or TIMEOUT_S)
        files = {
            "ca_certs": _told("CERTIFICATE"),
            "cert_file": _told("CLIENT_CERTIFICATE"),
            "key_file": _told("CLIENT_KEY"),
        }
        self._url = _endpoint()
        self._pool: Any = urllib3.PoolManager(
            num_pools=1,
            timeout=urllib3.Timeout(total=timeout_s),
            retries=urllib3.Retry(
                3,
                backoff_factor=0.5,
                status_forcelist=_AGAIN,
                allowed_methods=None,
                raise_on_status=False,
                redirect=False,
            ),
            **cast("Any", {name: path for name, path in files.items() if path}),
        )
        self._compress = _told("COMPRESSION") == "gzip"
        self._headers = {"content-type": "application/x-protobuf", "user-agent": "milepost", **_headers()}
        if self._compress:
            self._headers["content-encoding"] = "gzip"

    def __call__(self, body: bytes) -> str | None:
        """Send a request; return why it was not taken, None if it was. Raises what urllib3 raises."""
        data = gzip.compress(body, 1) if self._compress else body
        answer = self._pool.request("POST", self._url, body=data, headers=self._headers)
        return None if 200 <= answer.status < 300 else f"the collector answered {answer.status}"


def _told(name: str) -> str | None:
    every = os.environ.get(f"OTEL_EXPORTER_OTLP_{name}")
    return (os.environ.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}") or every or "").strip() or None


def _endpoint() -> str:
    if own := os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        return own
    return os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"].rstrip("/") + "/v1/traces"


def _headers() -> dict[str, str]:
    """Return headers that were set as `name=value` with commas, values percent-encoded."""
    pairs = [pair.partition("=") for pair in (_told("HEADERS") or "").split(",")]
    return {name.strip().lower(): unquote(value.strip()) for name, equals, value in pairs if equals and name.strip()}


def _number(name: str, default: int) -> int:
    with suppress(ValueError):
        if (number := int(os.environ.get(name, ""))) > 0:
            return number
    return default
