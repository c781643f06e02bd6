"""What a handler is given."""

import threading
from uuid import UUID

import pytest

from milepost import Cancelled, Context
from milepost.tasks.context import SENT_EVERY_S


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _context(sent: list[float], clock: Clock) -> Context:
    return Context(
        id=UUID(int=1),
        type="t",
        queue="q",
        tenant="default",
        attempt=1,
        max_attempts=1,
        _sink=lambda done, *_: sent.append(done),
        _clock=clock,
    )


def test_the_first_and_the_last_progress_are_sent_and_few_between() -> None:
    sent: list[float] = []
    clock = Clock()
    context = _context(sent, clock)
    for step in range(1, 1001):
        clock.now += 0.001
        context.progress(step, 1000)
    context.flush(final=True)
    assert sent[0] == 1
    assert sent[-1] == 1000
    assert len(sent) <= 1.0 / SENT_EVERY_S + 2


def test_progress_held_back_is_sent_when_its_time_has_come() -> None:
    sent: list[float] = []
    clock = Clock()
    context = _context(sent, clock)
    context.progress(1)
    context.progress(2)
    context.flush()
    assert sent == [1]
    clock.now += SENT_EVERY_S
    context.flush()
    assert sent == [1, 2]


def test_no_last_update_is_lost_between_the_handlers_thread_and_the_loop() -> None:
    sent: list[float] = []
    context = _context(sent, Clock())
    stop = threading.Event()

    def flush() -> None:
        while not stop.is_set():
            context.flush(final=True)

    flusher = threading.Thread(target=flush)
    flusher.start()
    for step in range(20_000):
        context.progress(step)
    stop.set()
    flusher.join()
    context.flush(final=True)
    assert sent[-1] == 19_999
    assert sent == sorted(sent)


def test_check_raises_once_the_task_should_stop() -> None:
    context = _context([], Clock())
    context.check()
    context.cancel()
    assert context.cancelled
    with pytest.raises(Cancelled):
        context.check()
