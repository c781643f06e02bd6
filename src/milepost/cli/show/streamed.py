"""What tasks stream, as lines to print."""

from collections.abc import Callable, Iterator
from typing import Any, Final
from uuid import UUID

from milepost.cli.output import printable
from milepost.cli.show.view import title
from milepost.client import RunEvent
from milepost_schemas.event import EventKind

LINE_CHARS: Final = 160
"""Output without line breaks is broken here, at a space if there is one."""
REST_S: Final = 2.0
"""The beginning of a line is printed when nothing was added to it for so long."""


class Streamed:
    """Makes whole lines of lines of log and chunks of output; nothing at all if nobody `wants` them."""

    def __init__(self, clock: Callable[[], float], *, wanted: bool) -> None:
        self._clock = clock
        self._wanted = wanted
        self._begun: dict[tuple[UUID, str], tuple[str, str, float]] = {}
        """Of each channel how its lines begin, what of the next one is there, and since when."""

    def lines(self, event: RunEvent) -> Iterator[str]:
        """Yield the lines that an event completes; at the end of a task also those that are not complete."""
        if not self._wanted:
            return
        name = title(event.task)
        if event.kind == EventKind.LOG:
            yield f"{name}: {_log_text(event.data)}"
        elif event.kind == EventKind.OUTPUT:
            yield from self._output(event.task.id, name, event.data)
        elif event.last:
            for key in [key for key in self._begun if key[0] == event.task.id]:
                yield from self._end(key)

    def rested(self) -> Iterator[str]:
        """Yield what was begun and has waited long enough for its end."""
        now = self._clock()
        for key in [key for key, (_, _, since) in self._begun.items() if now - since >= REST_S]:
            yield from self._end(key)

    def _output(self, task: UUID, name: str, data: dict[str, Any]) -> Iterator[str]:
        channel = printable(str(data.get("channel", "")))
        start = f"{name} {channel}: "
        key = (task, channel)
        if left_out := data.get("left_out"):
            yield from self._end(key)
            yield f"{start}({left_out:,} characters were left out)"
        _, begun, _ = self._begun.pop(key, ("", "", 0.0))
        *whole, rest = (begun + str(data.get("chunk", ""))).split("\n")
        for line in whole:
            yield start + printable(line)
        while len(rest) > LINE_CHARS:
            at = rest.rfind(" ", 1, LINE_CHARS) + 1 or LINE_CHARS
            yield start + printable(rest[:at])
            rest = rest[at:]
        if rest:
            self._begun[key] = start, rest, self._clock()

    def _end(self, key: tuple[UUID, str]) -> Iterator[str]:
        start, begun, _ = self._begun.pop(key, ("", "", 0.0))
        if begun:
            yield start + printable(begun)


def _log_text(data: dict[str, Any]) -> str:
    level = data.get("level")
    fields = data.get("fields")
    parts = [str(data.get("message", "")) if level in {None, "info"} else f"{level}: {data.get('message', '')}"]
    if isinstance(fields, dict):
        parts += [f"{name}={value}" for name, value in fields.items()]
    return printable(" ".join(parts))
