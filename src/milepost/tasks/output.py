"""What a handler emits with `ctx.emit`: text by channel, joined until it is taken, and bounded."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Final, NamedTuple

import orjson

from milepost.tasks.loglines import CUT, Allowance, one_line

CHANNELS: Final = 16
"""Of one attempt; what goes to others is left out."""
CHANNEL_CHARS: Final = 64
BURST_CHARS: Final = 128 * 1024
CHARS_A_SECOND: Final = 32 * 1024
RESUME_CHARS: Final = 8 * 1024
"""Once something was left out, all is until there is room for so much: a few long pieces say more than many letters."""
PIECE_CHARS: Final = 8_000
PIECE_BYTES: Final = 12_000
"""Of a piece as JSON."""


class Piece(NamedTuple):
    """Text of one channel; `left_out` characters before it are missing. The last piece of a channel may be empty."""

    channel: str
    chunk: str
    left_out: int = 0


class HandlerOutput:
    """The output of one attempt until it is taken. Safe from any thread."""

    __slots__ = (
        "_allowance",
        "_asked",
        "_clock",
        "_dry",
        "_inside",
        "_lock",
        "_missing",
        "_names",
        "_news",
        "_waiting",
        "left_out",
    )

    def __init__(
        self,
        news: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        *,
        lock: AbstractContextManager[Any] | None = None,
    ) -> None:
        """`news` is called when there is something to take that was not there before, by whoever emits it.

        Signal handlers and finalizers may emit and log in the middle of any call. So who holds a lock of his own when
        he takes output gives it to us, an RLock: of two, each could be held by somebody who waits for the other.
        """
        self._news = news
        self._clock = clock
        self._allowance = Allowance(clock(), BURST_CHARS, CHARS_A_SECOND)
        self._dry = False
        self._names: dict[str, str] = {}
        self._missing: dict[str, int] = {}
        self._waiting: dict[str, list[str | int]] = {}
        """Of each channel the chunks, and between them how many characters are missing."""
        self._asked = False
        self.left_out = 0
        """Characters, in all."""
        self._inside = False
        self._lock = lock or threading.RLock()

    def add(self, channel: str, chunk: str, left_out: int = 0) -> None:
        """Take a chunk, or as much of it as there is room for; `left_out` characters before it were left out before."""
        size = len(chunk)
        with self._lock:
            before, self._inside = self._inside, True
            try:
                name = self._names.get(channel) or self._name(channel)
                if left_out:
                    self._leave_out(name, left_out)
                kept = self._room(name, size)
                if kept:
                    self._keep(name, chunk if kept == size else chunk[:kept])
                if kept < size:
                    self._leave_out(name, size - kept)
            finally:
                self._inside = before
            if self._asked or not kept:
                return
            self._asked = True
        self._news()

    def _keep(self, name: str, chunk: str) -> None:
        parts = self._waiting.setdefault(name, [])
        if self._missing and (missing := self._missing.pop(name, 0)):
            parts.append(missing)
        parts.append(chunk)

    def _name(self, channel: str) -> str:
        if len(self._names) >= CHANNELS:
            return CUT
        name = self._names[channel] = one_line(channel, CHANNEL_CHARS)
        return name

    def _room(self, name: str, size: int) -> int:
        now = self._clock()
        if name is CUT or (self._dry and not self._allowance.has(now, RESUME_CHARS)):
            return 0
        kept = self._allowance.some(now, size)
        self._dry = kept < size
        return kept

    def _leave_out(self, name: str, characters: int) -> None:
        self._missing[name] = self._missing.get(name, 0) + characters
        self.left_out += characters

    def close(self) -> None:
        """Call nobody any more."""
        self._news = _to_nobody

    @property
    def pending(self) -> bool:
        """Whether `take` would return something."""
        return bool(self._waiting)

    def take(self, *, final: bool = False) -> list[Piece]:
        """Return what came since, joined by channel, in the order in which channels first spoke.

        With `final` also what is missing at the end. Nothing in the middle of `add`: it is there for the next.
        """
        with self._lock:
            if self._inside:
                return []
            self._asked = False
            waiting, self._waiting = self._waiting, {}
            missing = {}
            if final:
                missing, self._missing = self._missing, {}
        pieces = [piece for name, parts in waiting.items() for piece in _joined(name, parts)]
        return pieces + [Piece(name, "", characters) for name, characters in missing.items()]


def _to_nobody() -> None:
    pass


def _joined(name: str, parts: list[str | int]) -> Iterator[Piece]:
    missing = 0
    texts: list[str] = []
    for part in [*parts, 0]:
        if isinstance(part, str):
            texts.append(part)
            continue
        for text in _cut_up("".join(texts)):
            yield Piece(name, text, missing)
            missing = 0
        texts = []
        missing += part


def _cut_up(text: str) -> Iterator[str]:
    """Yield text in parts that are no longer than a piece may be, and that JSON can carry."""
    for start in range(0, len(text), PIECE_CHARS):
        part = text[start : start + PIECE_CHARS]
        try:
            size = len(orjson.dumps(part))
        except TypeError:  # half of a surrogate pair
            part = part.encode("utf-8", "replace").decode()
            size = len(orjson.dumps(part))
        # No character takes more than six bytes.
        step = len(part) if size <= PIECE_BYTES else PIECE_BYTES // 6 - 1
        for at in range(0, len(part), step):
            yield part[at : at + step]
