"""What an audit is made from: rows, records and frames, reduced to what the checks read."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from milepost_schemas.position import Position

TENANT = "default"
WHOLE = frozenset({"id", "type", "queue", "created_at"})
"""Members that only the whole task has."""


class Place(NamedTuple):
    """Where a record lies in Kafka."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic} {self.partition}/{self.offset}"


class TaskRow(NamedTuple):
    """A row of milepost.tasks. `result` is a `digest`, None for SQL null."""

    id: UUID
    tenant: str
    state: str
    epoch: int
    seq: int
    attempt: int
    max_attempts: int
    result: str | None
    key: str | None
    """Its idempotency key."""
    inline: bool = True
    """Whether the result is small enough to be shown in events and frames."""
    deleted: bool = False
    """Whether it was deleted since, and this is how the journal keeps it."""


class PastAttempt(NamedTuple):
    """A row of milepost.attempts."""

    epoch: int
    attempt: int
    outcome: str


class Move(NamedTuple):
    """One change of a task's state, epoch or attempt, as the database's own journal holds it (see `journal.sql`)."""

    source: str | None
    target: str
    epoch_before: int
    epoch: int
    attempt_before: int
    attempt: int
    max_attempts: int
    application: str
    """`application_name` of the session that made it."""
    worker: UUID | None = None
    """Who ran it last, or runs it now."""
    at: float = 0.0
    """Unix seconds of the database's clock."""


class WebhookRow(NamedTuple):
    """A row of milepost.webhooks. Filters: None is any."""

    tenant: str
    types: frozenset[str] | None
    states: frozenset[str] | None
    labels: Mapping[str, str] | None
    since: float
    """When it was made, in Unix seconds."""
    until: float | None
    """When it was deleted; None: it was not. What ends while it is disabled is noted too."""


class DeliveryRow(NamedTuple):
    """A row of milepost.deliveries that tells of an end."""

    webhook: UUID
    tenant: str
    task: UUID
    epoch: int


class Told(NamedTuple):
    """What the filters of webhooks look at in a task, and when it ended, in Unix seconds; None: it is open."""

    type: str
    labels: Mapping[str, str]
    finished_at: float | None


class EventRecord(NamedTuple):
    """A record of the events topic. `place` tells the order in the log: all events of a task are in one partition."""

    place: Place
    tenant: str
    at: Position
    merged: int
    kind: str
    source: str
    whole: bool
    """Whether it holds the whole task, so that a reader misses nothing by it."""
    state: str | None
    result: str | None
    """A `digest`; None if it says nothing of a result."""


class CompletionRecord(NamedTuple):
    """A record of the completions topic; `id` is its `ce_id`, the rest is its body."""

    place: Place
    id: str
    tenant: str
    epoch: int
    attempt: int
    state: str
    result: str | None


class Hint(NamedTuple):
    """A record of a work topic."""

    place: Place
    tenant: str
    epoch: int


class Mark(NamedTuple):
    """What a handler noted of itself while it ran (see `diary`). `at`: seconds by the machine's monotonic clock."""

    epoch: int
    at: float
    what: str
    """`begin`, `alive` or `end`."""
    pid: int
    every_s: float
    """At most so long, by what the handler means to do, from one mark to the next."""


class Unreadable(NamedTuple):
    """A record that does not decode, or one that was put aside, and why."""

    place: Place
    why: str


class Frame(NamedTuple):
    """One frame a client got about a task, or `sub`: the moment it subscribed, `at` being its `from`."""

    t: str
    at: Position | None
    prev: Position | None = None
    merged: int = 0
    kind: str | None = None
    reset: bool = False
    state: str | None = None
    attempt: int | None = None
    result: str | None = None
    whole: bool = False
    """Whether it holds the whole task."""


@dataclass(slots=True)
class Watch:
    """Everything one client got about one task, over all its connections, in order.

    `slow`: the client reads less than is sent, so events may be left out. `left`: it stopped watching of its own will.
    """

    task: UUID
    client: str
    frames: list[Frame] = field(default_factory=list)
    slow: bool = False
    left: bool = False


class Record:
    """What clients saw, written by them as they go: submissions that were answered with a task, and frames."""

    def __init__(self) -> None:
        self.accepted: dict[UUID, str] = {}
        """Tenant of each task that a client was told exists."""
        self.keys: dict[tuple[str, str], set[UUID]] = {}
        """Ids that were answered for each (tenant, idempotency key)."""
        self.unanswered = 0
        """Submissions whose outcome no client ever learned: each may have made a task or not."""
        self.watches: list[Watch] = []

    def answered(self, task: UUID, key: str | None = None, tenant: str = TENANT) -> None:
        """A submission was answered with a task: 202, or 200 if it had ended already."""
        self.accepted[task] = tenant
        if key is not None:
            self.keys.setdefault((tenant, key), set()).add(task)

    def answered_all(self, tasks: Iterable[str]) -> None:
        """Many at once, by the text of their ids, without keys."""
        self.accepted.update(dict.fromkeys(map(UUID, tasks), TENANT))

    def watch(self, task: UUID, client: str = "client", *, slow: bool = False) -> Watch:
        """Begin a watch."""
        watch = Watch(task, client, slow=slow)
        self.watches.append(watch)
        return watch


@dataclass(slots=True)
class Facts:
    """Everything the checks look at."""

    tasks: dict[UUID, TaskRow] = field(default_factory=dict)
    history: dict[UUID, list[PastAttempt]] = field(default_factory=dict)
    moves: dict[UUID, list[Move]] | None = None
    """In order, for each task; None if the database keeps no journal."""
    outbox: list[tuple[UUID, int]] = field(default_factory=list)
    """(task, epoch) of completions that are still to be published."""
    webhooks: dict[UUID, WebhookRow] = field(default_factory=dict)
    deliveries: list[DeliveryRow] = field(default_factory=list)
    told: dict[UUID, Told] = field(default_factory=dict)
    """Each task; nothing if there are no webhooks."""
    events: dict[UUID, list[EventRecord]] = field(default_factory=dict)
    """In the order of the log."""
    completions: dict[UUID, list[CompletionRecord]] = field(default_factory=dict)
    hints: dict[UUID, list[Hint]] = field(default_factory=dict)
    cancels: dict[UUID, list[Place]] = field(default_factory=dict)
    diary: dict[UUID, list[Mark]] = field(default_factory=dict)
    """What handlers noted, in any order; empty if they keep none."""
    unreadable: list[Unreadable] = field(default_factory=list)
    dead_letters: list[Unreadable] = field(default_factory=list)
    """Records put aside: where they came from, and why."""
    truncated: list[str] = field(default_factory=list)
    """Partitions whose first records are gone already."""
    drained_s: float | None = None
    """Seconds until nothing was open and the outbox empty; None: that was not reached."""
    bound_s: float = 0.0
    """Seconds it may take."""
    only_ours: bool = True
    """Whether nobody but the clients of the record submitted tasks."""


def digest(value: Any) -> str:
    """Return a short fingerprint of a JSON value; the same for the same value, however it was spelt."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def digest_of(members: Mapping[str, Any], name: str = "result") -> str | None:
    """Return the digest of a member; None if it is missing or null: a result that is null is none."""
    value = members.get(name)
    return None if value is None else digest(value)


def frame_of(frame: Mapping[str, Any]) -> Frame | None:
    """Return what a frame says of a task; None for frames that are about the connection."""
    if frame["t"] not in {"snap", "ev", "end"}:
        return None
    members = frame["data"] if frame["t"] == "ev" else frame["task"]
    prev = frame.get("prev")
    return Frame(
        t=frame["t"],
        at=Position(*frame["at"]),
        prev=None if prev is None else Position(*prev),
        merged=frame.get("merged") or 0,
        kind=frame.get("kind"),
        reset=bool(frame.get("reset")),
        state=members.get("state"),
        attempt=members.get("attempt"),
        result=digest_of(members),
        whole=members.keys() >= WHOLE,
    )
