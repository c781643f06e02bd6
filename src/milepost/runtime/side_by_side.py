"""Several processes of one service on one machine: started, started again when they end, drained together."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Final

from milepost.runtime.lifecycle import Shutdown
from milepost.runtime.logs import get_logger

log = get_logger("milepost.side_by_side")

LOOK_S: Final = 0.1
GOOD_S: Final = 30.0
"""A process that lived so long starts again at once; others wait, twice as long each time."""
WAIT_MAX_S: Final = 10.0


@dataclass(slots=True)
class _Place:
    """One of the processes that are to run, whichever process that is now."""

    argv: Sequence[str]
    variables: Mapping[str, str]
    process: "subprocess.Popen[bytes] | None" = None
    began: float = 0.0
    failures: int = 0
    start_at: float = 0.0

    def start(self) -> None:
        self.began = time.monotonic()
        # Not in our process group: Ctrl-C of a terminal would reach it twice, and hurry it. Its input is a pipe of
        # ours, so that it sees us end however we do.
        self.process = subprocess.Popen(
            self.argv, env=os.environ | self.variables, stdin=subprocess.PIPE, process_group=0
        )

    def signal(self, number: int) -> None:
        """Pass a signal on."""
        if self.process is not None:
            self.process.send_signal(number)

    def ended(self, now: float) -> int | None:
        """Return the status of a process that has ended, and say when the next is to start; None while it runs."""
        if self.process is None or (status := self.process.poll()) is None:
            return None
        self.process = None
        self.failures = 0 if now - self.began > GOOD_S else self.failures + 1
        self.start_at = now + (0.0 if self.failures == 0 else min(WAIT_MAX_S, 0.25 * 2.0**self.failures))
        return status


def run_side_by_side(what: str, processes: Sequence[tuple[Sequence[str], Mapping[str, str]]]) -> int:
    """Keep processes alive, given as arguments and variables of their own, until SIGTERM or SIGINT; return the status.

    Signals are passed on, each of them: the second one hurries a drain.
    """
    asked: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        asked.append(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, note)
    places = [_Place(*each) for each in processes]
    while not asked:
        _hold_up(what, places)
        time.sleep(LOOK_S)
    statuses = []
    while running := [place for place in places if place.process is not None]:
        while asked:
            again = asked.pop(0)
            for place in running:
                place.signal(again)
        time.sleep(LOOK_S)
        now = time.monotonic()
        statuses += [status for place in running if (status := place.ended(now)) is not None]
    return max(map(abs, statuses), default=0)


def _hold_up(what: str, places: Sequence[_Place]) -> None:
    """Start whatever does not run and is due."""
    now = time.monotonic()
    for place in places:
        if (status := place.ended(now)) is not None:
            wait = round(place.start_at - now, 2)
            log.error("a process ended and is started again", process=what, status=status, after_s=wait)
        if place.process is None and now >= place.start_at:
            place.start()


def stop_when_alone(shutdown: Shutdown) -> None:
    """Ask for a shutdown when the process that started this one is gone. To be called on the loop."""
    loop = asyncio.get_running_loop()
    line = sys.stdin.fileno()

    def look() -> None:
        if not os.read(line, 1024):
            loop.remove_reader(line)
            log.warning("the process that started this one is gone; this one stops too")
            shutdown.ask()

    loop.add_reader(line, look)
