"""Spans between their end and their encoding: noting one is a few references, and bytes are made of many in one go.

What a task has to wait for is only the noting. The encoding is the same few lines for thousands, in the exporting
thread: it takes a third there of what it takes when each span is encoded in between other things (decision 25).
"""

import random
from collections.abc import Callable, Iterable
from typing import Any, Final

from milepost.runtime import otlp
from milepost.runtime.logs import get_logger

Sort = Callable[..., bytes]
"""What spans of one sort have beside ids and times, made of whatever values they differ in: parts as of `otlp`."""
Recorded = tuple[Sort, str | None, str | None, int, int, tuple[Any, ...]]
"""Sort, traceparent of the span (None: any under its parent), that of its parent, start, end, values for the sort."""
_ID_BYTES: Final = 8

log = get_logger("milepost.spans")


def encoded(spans: Iterable[Recorded]) -> list[bytes]:
    """Return spans as OTLP has them; one that cannot be encoded is left out, and the log says so.

    Their traceparents have to be valid.
    """
    done: list[bytes] = []
    failure: Exception | None = None
    for sort, me, parent, start_ns, end_ns, values in spans:
        try:
            named = me or parent or ""
            span_id = bytes.fromhex(me[36:52]) if me else random.randbytes(_ID_BYTES)  # noqa: S311 - no secret
            above = bytes.fromhex(parent[36:52]) if parent else b""
            done.append(otlp.span(bytes.fromhex(named[3:35]), span_id, above, start_ns, end_ns, sort(*values)))
        except Exception as error:  # noqa: BLE001 - one span that is nonsense is no reason to lose the others
            failure = error
    if failure is not None:
        log.error("a span could not be encoded", exc_info=failure)
    return done
