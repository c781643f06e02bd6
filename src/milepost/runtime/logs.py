"""Structured logs: JSON where a machine reads them, coloured lines on a terminal."""

import logging
import sys
from contextvars import Context, ContextVar
from typing import Any, Final
from uuid import UUID

import structlog

from milepost.runtime.settings import Settings

_AT_WORK: Final[ContextVar[tuple[UUID | None, str | None]]] = ContextVar("milepost_at_work", default=(None, None))


def at_work(task: UUID | None, trace_id: str | None) -> None:
    """Let all that is logged in this context from now on name the task and the trace.

    One variable that is only looked at when something is logged: each attempt and each request sets it.
    """
    _AT_WORK.set((task, trace_id))


def task_at_work(context: Context) -> UUID | None:
    """Return the task that `at_work` named in a context; None if it named none."""
    return context.get(_AT_WORK, (None, None))[0]


def _name_work(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    task, trace_id = _AT_WORK.get()
    if task is not None:
        event.setdefault("task", str(task))
    if trace_id is not None:
        event.setdefault("trace_id", trace_id)
    return event


def _for_terminals(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Keep what others made us say on one line, and what could steer a terminal away from it; JSON escapes both."""
    for name, value in event.items():
        shown = value if isinstance(value, str) else str(value)
        if not shown.isprintable():
            kept = "\n" if name == "exception" else ""  # ours, apart from the message at its end
            event[name] = "".join(c if c.isprintable() or c in kept else "\N{REPLACEMENT CHARACTER}" for c in shown)
    return event


def set_up_logs(settings: Settings, service: str) -> None:
    """Send the logs of this process, ours and the libraries', to standard error in one format."""
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _name_work,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.EventRenamer("message"),
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(event_key="message", colors=sys.stderr.isatty())
    )
    rendering = [structlog.processors.format_exc_info, *([] if as_json else [_for_terminals]), renderer]
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *rendering,
            ],
        )
    )
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[handler], force=True)
    # aiokafka reports each refused connection at error level, several a second; /readyz and our own log say it once.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


def get_logger(name: str) -> Any:
    """Return a logger that carries `module=name` and the task and trace bound in this context."""
    return structlog.get_logger(module=name)
