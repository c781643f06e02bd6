"""What the api counts. The names are in milepost.runtime.metrics.catalogue."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from milepost.runtime.metrics import catalogue
from milepost.store import NewTask, Submitted

_CLASSES: Final = ("0xx", "1xx", "2xx", "3xx", "4xx", "5xx")
UNMATCHED: Final = "unmatched"
"""The route of a path that there is not: whoever makes up paths makes up no series."""
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

Submit = Callable[[Sequence[NewTask]], Awaitable[Sequence[Submitted]]]


def answered(route: str, method: str, status: int, seconds: float, traceparent: str | None) -> None:
    """Count a request, which took `seconds` without what its caller asked to wait."""
    catalogue.HTTP_REQUESTS.at(route, method, _CLASSES[status // 100]).inc()
    catalogue.HTTP_SECONDS.at(route, method).observe(seconds, traceparent)


def strayed(method: str, status: int) -> None:
    """Count a request for a path that there is not, or not with this method."""
    catalogue.HTTP_REQUESTS.add(1, UNMATCHED, method if method in _METHODS else "other", _CLASSES[status // 100])


def ended(queue: str, state: str) -> None:
    """Count a task that was brought to its end here."""
    catalogue.ENDED.add(1, queue, state)


def counting(submit: Submit) -> Submit:
    """Return a way to store tasks that counts those it stored."""

    async def counted(tasks: Sequence[NewTask]) -> Sequence[Submitted]:
        stored = await submit(tasks)
        by_queue = Counter(task.queue for task, row in zip(tasks, stored, strict=True) if row.before is None)
        for queue, number in by_queue.items():
            catalogue.SUBMITTED.add(number, queue)
        return stored

    return counted
