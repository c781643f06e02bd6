"""How spans about Postgres look, by OpenTelemetry's conventions for databases."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from time import time_ns

from opentelemetry.trace import SpanKind

from milepost.errors import MilepostError
from milepost.runtime import otlp
from milepost.runtime.tracing import failed, record

_TABLE = "milepost.tasks"


@lru_cache(64)
def _shape(operation: str, statement: str) -> bytes:
    static = {
        "db.system.name": "postgresql",
        "db.operation.name": operation,
        "db.collection.name": _TABLE,
        "milepost.statement": statement,
    }
    return otlp.shape(f"{operation} {_TABLE}", SpanKind.CLIENT, tuple(static.items()))


def _written(operation: str, statement: str, size: int, more: bytes) -> bytes:
    return _shape(operation, statement) + (otlp.known("db.operation.batch.size", size) if size > 1 else b"") + more


@contextmanager
def writing(operation: str, statement: str, parents: Sequence[str], size: int) -> Iterator[None]:
    """Record, for each of some spans, that a statement in the block wrote its tasks' rows with others': `size` in all.

    `statement` is the name of its file in store/sql.
    """
    if not parents:
        yield
        return
    more = b""
    began_ns = time_ns()
    try:
        yield
    except Exception as error:
        more = failed(type(error).__name__, str(error) if isinstance(error, MilepostError) else "")
        raise
    finally:
        ended_ns = time_ns()
        for parent in dict.fromkeys(parents):
            record(_written, None, parent, began_ns, ended_ns, operation, statement, size, more)
