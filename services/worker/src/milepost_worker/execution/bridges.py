"""What a handler in a process says by `logging` or structlog goes into the worker's log beside its `ctx.log`."""

import logging
import traceback
from collections.abc import MutableMapping
from typing import Any, Final, NoReturn

import structlog

from milepost.tasks.loglines import VALUE_CHARS, HandlerLog

_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""Members every record has; others were given as `extra`."""


def bridge(log: HandlerLog, level: str) -> None:
    """Send to `log` what is logged in this process from `level` on. Loggers of their own making keep their handlers."""
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=number, handlers=[_Handler(log)], force=True)

    def hand_over(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> NoReturn:
        if "exception" in event:
            event["exception"] = str(event["exception"])[-VALUE_CHARS:]
        log.add(event.pop("level", None), event.pop("event", ""), event, library=True)
        raise structlog.DropEvent

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            hand_over,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(),
        cache_logger_on_first_use=True,
    )


class _Handler(logging.Handler):
    def __init__(self, log: HandlerLog) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a record over. Arguments that do not fit its message are told on standard error, as ever."""
        try:
            fields = {name: value for name, value in vars(record).items() if name not in _OWN}
            if record.exc_info and record.exc_info[1] is not None:
                lines = "".join(traceback.format_exception(record.exc_info[1]))
                # Its end says most.
                fields["exception"] = lines[-VALUE_CHARS:]
            said = record.getMessage()
            self._log.add(_level(record.levelno), said, {"logger": record.name} | fields, library=True)
        except Exception:  # noqa: BLE001 - as every handler of the standard library
            self.handleError(record)


def _level(number: int) -> str:
    if number >= logging.ERROR:
        return "error"
    if number >= logging.WARNING:
        return "warning"
    return "info" if number >= logging.INFO else "debug"
