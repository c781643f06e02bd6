"""Says what happens, in plain words: above a spinner on a terminal, as lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.text import Text


class Narrator:
    """One console for all who have something to say."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self._began = time.monotonic()

    @property
    def terminal(self) -> bool:
        """Whether a person is watching."""
        return self.console.is_terminal

    def say(self, line: str) -> None:
        """Write a line, with the seconds since the start before it."""
        elapsed = f"{time.monotonic() - self._began:6.1f} s  "
        # A log or a pipe gets the line as it is; rich would break it at 80 columns.
        self.console.print(Text(elapsed, "dim").append(line, ""), soft_wrap=True, highlight=False)
        self.console.file.flush()

    def show(self, what: RenderableType) -> None:
        """Write something larger."""
        self.console.print(what)
        self.console.file.flush()

    @contextmanager
    def step(self, doing: str, done: str) -> Iterator[None]:
        """Say what is being done while it is, and how long it took."""
        began = time.monotonic()
        if self.terminal:
            with self.console.status(doing):
                yield
        else:
            self.say(doing)
            yield
        self.say(f"{done} after {time.monotonic() - began:.1f} s")
