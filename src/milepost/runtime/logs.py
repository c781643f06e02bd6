"""Structured logs: JSON where a machine reads them, coloured lines on a terminal."""

import asyncio
import atexit
import logging
import sys
from contextlib import suppress
from contextvars import Context, ContextVar
from datetime import UTC, datetime
from typing import Any, Final, TextIO
from uuid import UUID

import orjson
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


class _Lines:
    """Lines that are JSON already, written together once a turn of the loop."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._waiting: list[bytes] = []

    def add(self, line: bytes) -> None:
        """Take a line. On a loop's thread it is written when the loop gets to it, else at once."""
        self._waiting.append(line)
        if len(self._waiting) == 1:
            try:
                asyncio.get_running_loop().call_soon(self.write)
            except RuntimeError:
                self.write()

    def write(self) -> None:
        """Write what waits."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            with suppress(OSError, ValueError):  # nobody reads any more
                self._stream.flush()
                self._stream.buffer.write(b"".join(waiting))
                self._stream.buffer.flush()


_LINE: Final = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE


class _State:
    """What is logged in this process, from what level on and how."""

    service = ""
    level = logging.INFO
    usual = logging.INFO
    """The level of the settings."""
    libraries = logging.WARNING
    lines: _Lines | None = None
    """None: what reads is a terminal, or nothing was set up."""


class _Logger(structlog.make_filtering_bound_logger(logging.DEBUG)):  # type: ignore[misc]
    """A logger of structlog's whose level can be another from one moment to the next, for all that were handed out."""


_NAMES: Final = ("debug", "info", "warning", "warn", "error", "critical", "fatal", "exception", "log", "msg")
_METHODS: Final = (*_NAMES, *(f"a{name}" for name in _NAMES), "is_enabled_for", "get_effective_level")


def set_level(name: str | None) -> None:
    """Log from this level on from now on; None: from that of the settings."""
    level = _State.usual if name is None else logging.getLevelNamesMapping()[name.upper()]
    _State.level = level
    filtering = structlog.make_filtering_bound_logger(level)
    for method in _METHODS:
        setattr(_Logger, method, getattr(filtering, method))
    logging.getLogger().setLevel(max(level, _State.libraries))


def hear_libraries(level: int) -> None:
    """Let what is logged by `logging` through from this level on; usually that is warnings, whatever our own level."""
    _State.libraries = level


def logs_at(level: int) -> bool:
    """Whether what is of this level (`logging.INFO` and so on) is logged now."""
    return level >= _State.level


def level_name() -> str:
    """Return the name of the level that is logged from now."""
    return logging.getLevelName(_State.level).lower()


def flush() -> None:
    """Write lines that wait for the loop: before a process ends without its loop."""
    if _State.lines is not None:
        _State.lines.write()


def write_fields(level: str, message: str, fields: dict[str, Any]) -> None:
    """Log a line whose fields are few and known, at a fraction of what the usual way costs: for what each task says.

    What comes from outside has to be printable already. Ask `logs_at` before.
    """
    if _State.lines is None:
        getattr(_PLAIN, level)(message, **fields)
        return
    line = {"timestamp": datetime.now(UTC), "level": level, "message": message, "service": _State.service}
    line.update(fields)
    _State.lines.add(orjson.dumps(line, option=_LINE))


def set_up_logs(settings: Settings, service: str) -> None:
    """Send the logs of this process, ours and the libraries', to standard error in one format."""
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
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
        wrapper_class=_Logger,
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
    logging.basicConfig(handlers=[handler], force=True)
    # aiokafka reports each refused connection at error level, several a second; /readyz and our own log say it once.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    _State.service = service
    _State.usual = logging.getLevelNamesMapping()[settings.log_level.upper()]
    _State.lines = _Lines(sys.stderr) if as_json else None
    atexit.register(flush)
    set_level(None)


def get_logger(name: str) -> Any:
    """Return a logger that carries `module=name` and the task and trace bound in this context."""
    return structlog.get_logger(module=name)


_PLAIN: Final = structlog.get_logger()
