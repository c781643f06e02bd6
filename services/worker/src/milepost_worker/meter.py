"""What a worker counts. The names are in milepost.runtime.metrics.catalogue."""

from collections import Counter
from collections.abc import Callable, Sequence
from enum import StrEnum

from milepost.runtime.metrics import catalogue
from milepost.runtime.metrics.bounded import OPEN
from milepost.store import Claimed
from milepost.store.records import PRIORITY_NAMES
from milepost_schemas import TaskState
from milepost_worker.attempt import Attempt
from milepost_worker.came import How
from milepost_worker.identity import Identity
from milepost_worker.running import Running

_LANES = {number: name.value for number, name in PRIORITY_NAMES.items()}


class Over(StrEnum):
    """How an attempt was over."""

    SUCCEEDED = "succeeded"
    RETRYING = "retrying"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RELEASED = "released"
    LOST = "lost"


class Lost(StrEnum):
    """Why a task was not surely ours any more."""

    FENCED = "fenced"
    EXPIRED = "expired"
    ABSENT = "absent"
    BLOCKED = "blocked"


_TAKEN_BACK = {None: "released", "LeaseLost": "lease_lost", "LoopBlocked": "blocked"}


def begin(identity: Identity) -> None:
    """Have every series there is from the start: the first of something is an increase only from a 0."""
    OPEN["queue"].reserve(identity.queues)
    OPEN["type"].reserve(identity.types)
    for queue in identity.queues:
        for state in (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED):
            catalogue.ENDED.at(queue, state)
        catalogue.DEAD_LETTERS.at(queue)
        catalogue.RETRIES.at(queue)
    for how in How:
        catalogue.CLAIMS.at(how)
    for lost in Lost:
        catalogue.LEASES_LOST.at(lost)
    for reason in (*_TAKEN_BACK.values(), "other"):
        catalogue.TAKEN_BACK.at(reason)
    for outcome in ("delivered", "again", "failed"):
        catalogue.WEBHOOK_ATTEMPTS.at(outcome)


def reading(identity: Identity, running: Running) -> Callable[[], None]:
    """Return a reading of what runs."""

    def read() -> None:
        catalogue.SLOTS.set(running.slots)
        catalogue.SLOTS_BUSY.set(running.slots - max(running.free, 0))
        catalogue.LEFTOVERS.set(len(running.leftovers))
        of = Counter(dict.fromkeys(identity.queues, 0))
        of.update(attempt.claimed.queue for attempt in running)
        catalogue.RUNNING.replace({(queue,): float(number) for queue, number in of.items()})

    return read


def claimed(tasks: Sequence[Claimed], how: How) -> None:
    """Count tasks that are ours now."""
    if tasks:
        catalogue.CLAIMS.add(len(tasks), how)
    for task in tasks:
        if task.waited_s is not None:
            waits = catalogue.SCHEDULE_TO_START.at(task.queue, _LANES[task.priority])
            waits.observe(task.waited_s, task.traceparent)


def over(attempt: Attempt, how: Over, seconds: float) -> None:
    """Count an attempt of which everything is written, `seconds` after its claim."""
    catalogue.ATTEMPT_SECONDS.at(attempt.claimed.type, how).observe(seconds, attempt.claimed.traceparent)


def retrying(queue: str) -> None:
    """Count a failed attempt that another follows."""
    catalogue.RETRIES.add(1, queue)


def ended(queue: str, state: str) -> None:
    """Count a task that was brought to its end here."""
    catalogue.ENDED.at(queue, state).inc()
    if state == TaskState.FAILED:
        catalogue.DEAD_LETTERS.at(queue).inc()


def not_written() -> None:
    """Count an outcome that Postgres did not take."""
    catalogue.FENCED_WRITES.add(1)


def lost(why: Lost) -> None:
    """Count an attempt that was stopped because its task was not surely ours any more."""
    catalogue.LEASES_LOST.add(1, why)


def taken_back(why: str | None) -> None:
    """Count a task that was taken back; `why` is the type of its error, None: its worker gave it back."""
    catalogue.TAKEN_BACK.add(1, _TAKEN_BACK.get(why, "other"))
