"""What leaves Postgres for Kafka: dispatch hints, events and completions, made from what was just committed."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from time import time_ns
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson

from milepost.log.spans import Sending, sent
from milepost.log.topics import Topics
from milepost.log.writer import Record, Writer
from milepost.runtime.tracing import recorded, within
from milepost.store.records import PRIORITY_NAMES, Held
from milepost.store.view import JSON_OPTIONS, task_view
from milepost.window import Ask, Window
from milepost_schemas import CancelRequest, Completion, Dispatch, Event, EventKind, Position, Priority
from milepost_schemas.cloudevents import headers_of

TERMINAL_KINDS: Final = {
    "succeeded": EventKind.SUCCEEDED,
    "failed": EventKind.FAILED,
    "cancelled": EventKind.CANCELLED,
}
_COMPLETION_MEMBERS: Final = (
    "type", "queue", "state", "epoch", "attempt", "labels", "result", "error",
    "created_at", "started_at", "finished_at",
)  # fmt: skip


class Hint(NamedTuple):
    """That a task was queued under an epoch; `key` is None for a task without one."""

    task: UUID
    tenant: str
    type: str
    queue: str
    priority: Priority
    epoch: int
    traceparent: str | None
    key: str | None


def completion_body(task: str, tenant: str, root: UUID, view: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of a Completion for `orjson.dumps(…, option=JSON_OPTIONS)`."""
    shown = {member: view[member] for member in _COMPLETION_MEMBERS if view.get(member) is not None}
    return {"task": task, "tenant": tenant, "root": root, **shown}


class Announcer:
    """Tells Kafka, and never waits.

    While the broker is away hints are dropped (stealing finds the tasks), events are refused to their caller, and
    completions stay in the outbox for whoever sweeps it.
    """

    def __init__(
        self,
        writer: Writer,
        topics: Topics,
        source: str,
        acknowledged: Callable[[Held], None],
        room: Ask | None = None,
    ) -> None:
        """`acknowledged` is called for each completion Kafka has, so that its outbox row can go.

        `room` counts what waits, so that hints are withheld where much does (and `look_for_room` is to be run); without
        it all go.
        """
        self._writer = writer
        self._topics = topics
        self._source = source
        self._acknowledged = acknowledged
        self._window: Window[Hint] | None = None if room is None else Window(room, self._hint)
        self._named: tuple[UUID, str] | None = None
        self._sending: Sending | None = None
        """The span of the last hint."""

    def _name(self, task: UUID) -> str:
        """Return a task's id as text. What is told of a task comes in pairs, and the text is not free."""
        if self._named is None or self._named[0] is not task:
            self._named = (task, str(task))
        return self._named[1]

    def dispatch(self, hint: Hint) -> None:
        """Hint that a task was queued, if there is room in the window; else workers find it by itself."""
        if self._window is None:
            self._hint(hint, more=False)
        else:
            self._window.offer((hint.tenant, hint.queue), hint)

    async def look_for_room(self) -> None:
        """Count what waits where the window's room runs out, until cancelled."""
        if self._window is not None:
            await self._window.run()

    def _hint(self, hint: Hint, more: bool) -> None:
        task, tenant, type_, queue, priority, epoch, traceparent, key = hint
        name = self._name(task)
        topic, identity = self._topics.work(queue, priority), f"{name}:{epoch}"
        on_ack: Callable[[], None] | None = None
        if traceparent is not None and recorded(traceparent):
            sending = self._sending
            if sending is None or not sending.takes(traceparent, topic):
                sending = self._sending = Sending(traceparent, topic, name, tenant, identity)
            traceparent, on_ack = sending.me, sending.acked
        headers = headers_of(Dispatch, identity=identity, source=self._source, subject=name, traceparent=traceparent)
        body: dict[str, Any] = {"task": name, "tenant": tenant, "type": type_, "epoch": epoch, "key": key}
        if more:
            body["more"] = True
        value = orjson.dumps(body)
        self._writer.write(Record(topic, task.bytes, value, headers, on_ack, hint=True))

    def event(
        self,
        task: UUID,
        tenant: str,
        root: UUID,
        at: Position,
        kind: EventKind,
        data: Mapping[str, Any] | orjson.Fragment,
        traceparent: str | None,
        merged: int = 0,
    ) -> bool:
        """Send one event; False while Kafka cannot take it. `data` may hold orjson Fragments, or be one.

        What is streamed is refused early, so that there is always room for what is not.
        """
        if not kind.patches and not self._writer.at_ease:
            return False
        name = self._name(task)
        headers = headers_of(
            Event, identity=f"{name}:{at[0]}:{at[1]}", source=self._source, subject=name, traceparent=traceparent
        )
        value = orjson.dumps(
            {
                "task": name,
                "tenant": tenant,
                "root": root,
                "at": [at[0], at[1]],
                "merged": merged,
                "kind": kind,
                "time": datetime.now(UTC),
                "data": data,
            },
            option=JSON_OPTIONS,
        )
        return self._writer.write(Record(self._topics.events, root.bytes, value, headers))

    def row_event(self, row: Any, kind: EventKind) -> bool:
        """Send an event that shows a task's whole row, at the row's own position."""
        at = Position(row["epoch"], row["seq"])
        return self.event(row["id"], row["tenant"], row["root_id"], at, kind, task_view(row), row["traceparent"])

    def queued(self, row: Any, kind: EventKind = EventKind.QUEUED) -> None:
        """Tell of a task that was queued again: an event for watchers, a hint for workers."""
        self.row_event(row, kind)
        self.dispatch(
            Hint(
                row["id"],
                row["tenant"],
                row["type"],
                row["queue"],
                PRIORITY_NAMES[row["priority"]],
                row["epoch"],
                row["traceparent"],
                row["key"],
            )
        )

    def ended(self, row: Any) -> None:
        """Tell of a task that is over: the terminal event and the completion."""
        self.row_event(row, TERMINAL_KINDS[row["state"]])
        self.completion(row["id"], row["tenant"], row["root_id"], task_view(row), row["traceparent"])

    def overdue(self, row: Any) -> None:
        """Tell of an end that nobody got acknowledged; if the task was replayed since, watchers know what is newer."""
        if row["past"]:
            self.completion(row["id"], row["tenant"], row["root_id"], task_view(row), row["traceparent"])
        else:
            self.ended(row)

    def replayed(self, row: Any) -> None:
        """Tell of a finished task that will run again."""
        if row["state"] == "queued":
            self.queued(row)
        else:
            self.row_event(row, EventKind.SCHEDULED)

    def completion(self, task: UUID, tenant: str, root: UUID, view: Mapping[str, Any], traceparent: str | None) -> None:
        """Send a completion; its outbox row goes when Kafka has it. `view` holds at least the members it shows."""
        name, epoch = self._name(task), view["epoch"]
        topic, identity, held = self._topics.completions, f"{name}:{epoch}", Held(task, epoch)
        on_ack = partial(self._acknowledged, held)
        if traceparent is not None and recorded(traceparent):
            parent, traceparent = traceparent, within(traceparent)
            on_ack = partial(self._completed, held, traceparent, parent, topic, time_ns(), name, tenant, identity)
        headers = headers_of(Completion, identity=identity, source=self._source, subject=name, traceparent=traceparent)
        value = orjson.dumps(completion_body(name, tenant, root, view), option=JSON_OPTIONS)
        self._writer.write(Record(topic, task.bytes, value, headers, on_ack))

    def _completed(self, held: Held, *span: Any) -> None:
        sent(*span)
        self._acknowledged(held)

    def cancel_request(self, task: UUID, tenant: str, traceparent: str | None) -> None:
        """Tell the worker that runs a task, wherever it is, that it should stop."""
        name = self._name(task)
        headers = headers_of(
            CancelRequest, identity=f"{name}:cancel", source=self._source, subject=name, traceparent=traceparent
        )
        value = orjson.dumps({"task": name, "tenant": tenant})
        self._writer.write(Record(self._topics.control, task.bytes, value, headers))
