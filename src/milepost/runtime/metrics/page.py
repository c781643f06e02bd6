"""docs/metrics.md, made of the catalogue."""

from typing import Any, Final

from milepost.runtime.metrics.bounded import KNOWN_MOST, OPEN, STRANGE_MOST
from milepost.runtime.metrics.instruments import ALL, API, NOTIFIER, WORKER, Histogram, Instrument

_OPEN: Final = ", ".join(f"`{name}`" for name in OPEN)
_HEAD: Final = f"""# Metrics

Made of `src/milepost/runtime/metrics/catalogue.py` by `make metrics-page`; how to read them and by whom is in
[operations.md](operations.md#metrics).

No label names a tenant, a task or an address. People make up names of {_OPEN}, so a process knows at most
{KNOWN_MOST} of each: those that workers serve, and {STRANGE_MOST} others; all the rest count as `other`.

Counters begin at 0 with each process, so use `rate` or `increase`, and add up over processes. What one api says of
Postgres every api says: take `max`, do not add up; while Postgres is away nobody says it.

Beside these each process has those of Python and of the process itself (`process_cpu_seconds_total`,
`process_resident_memory_bytes`, `python_gc_…`), and a worker those that handlers on its loop and in its threads
register with `prometheus_client`.
"""
_TITLES: Final = (
    (ALL, "Every process"),
    ((API,), "API"),
    ((API, WORKER), "API and workers"),
    ((WORKER,), "Workers"),
    ((WORKER, NOTIFIER), "Workers and notifiers"),
    ((NOTIFIER,), "Notifiers"),
)


def page() -> str:
    """Return the page."""
    parts = [_HEAD]
    for of, title in _TITLES:
        rows = [_row(each) for each in Instrument.made if each.of == of]
        parts.append(f"## {title}\n\n| metric | kind | labels | |\n|---|---|---|---|\n" + "\n".join(rows) + "\n")
    bounds = [_bounds(each) for each in Instrument.made if isinstance(each, Histogram)]
    parts.append(
        "## Buckets\n\nUpper bounds, in the unit of the name; † with exemplars (OpenMetrics).\n\n" + "\n".join(bounds)
    )
    return "\n".join(parts) + "\n"


def _row(each: Instrument[Any]) -> str:
    labels = ", ".join(f"`{name}`" for name in each.label_names) or ""
    return f"| `{each.name}` | {each.kind} | {labels} | {each.text} |"


def _bounds(each: Histogram) -> str:
    return f"- `{each.name}`{' †' if each.exemplars else ''}: {', '.join(f'{bound:g}' for bound in each.buckets)}"
