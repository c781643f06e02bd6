"""Events, views and a client's fold, for tests of the session."""

from typing import Any
from uuid import UUID

import orjson

from milepost.live import LiveEvent, View
from milepost.live.wire import is_progress_only, json_text
from milepost.runtime.auth import Principal
from milepost.runtime.tokens import TokenExpired
from milepost_notifier.intents import Descend, Forget, Lookup
from milepost_notifier.limits import Limits
from milepost_notifier.session import Session
from milepost_schemas.event import Event, EventKind
from milepost_schemas.frames import SERVER_FRAME
from milepost_schemas.position import Position

TASK = UUID("01890000-0000-7000-8000-000000000001")
OTHER = UUID("01890000-0000-7000-8000-000000000002")
TRACE = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"


def event(
    epoch: int,
    seq: int,
    kind: str = "progress",
    data: Any = None,
    *,
    prev: Any = "before",
    task: UUID = TASK,
    whole: bool = False,
    merged: int = 0,
) -> LiveEvent:
    """Return an event; `prev` is the position one before it unless said otherwise (None: Redis knew nothing)."""
    if data is None:
        data = {"progress": {"done": seq}} if kind == "progress" else {"state": kind}
    if prev == "before":
        prev = (epoch, seq - 1) if seq else None
    kind_ = EventKind(kind)
    alone = is_progress_only(
        Event.model_construct(kind=kind_, data=data)  # type: ignore[call-arg]
    )
    return LiveEvent(
        str(task).encode(),
        None if prev is None else Position(*prev),
        Position(epoch, seq),
        kind,
        alone,
        b"-",
        json_text({**data, "epoch": epoch} if kind_.patches else data),
        whole=whole,
        merged=merged,
    )


def view(
    epoch: int, seq: int, task: dict[str, Any] | None = None, *, finished: bool = False, history: Any = ()
) -> View:
    """Return what a look-up finds."""
    return View(Position(epoch, seq), orjson.dumps(task or {"done": seq}), finished, history=tuple(history))


class Driven:
    """A session with its driver's chores done by hand."""

    def __init__(self, limits: Limits | None = None, *, greeted: bool = True) -> None:
        self.now = 1000.0
        self.tokens: dict[str, Principal] = {}
        """Those that are good, besides "good" itself."""
        self.session = Session("s1", self._authenticate, self.now, limits or Limits())
        if greeted:
            self.send({"t": "hello", "token": "good"})
            assert self.frames()[0]["t"] == "welcome"

    def _authenticate(self, token: str) -> Principal | None:
        if token == "expired":
            raise TokenExpired(token)
        return Principal("default") if token == "good" else self.tokens.get(token)

    def send(self, frame: Any) -> None:
        """Pass in a client's frame."""
        self.session.receive(frame if isinstance(frame, str | bytes) else orjson.dumps(frame).decode(), self.now)

    def sub(self, number: int = 1, task: UUID = TASK, since: Any = None, **more: Any) -> None:
        """Subscribe."""
        frame: dict[str, Any] = {"t": "sub", "id": number, "task": str(task), **more}
        if since is not None:
            frame["from"] = since
        self.send(frame)

    def lookups(self) -> list[Lookup]:
        """Take the look-ups wanted."""
        found = [intent for intent in self.session.intents if isinstance(intent, Lookup)]
        self.session.intents[:] = [intent for intent in self.session.intents if not isinstance(intent, Lookup)]
        return found

    def descends(self) -> list[Descend]:
        """Take the questions for children."""
        found = [intent for intent in self.session.intents if isinstance(intent, Descend)]
        self.session.intents[:] = [intent for intent in self.session.intents if not isinstance(intent, Descend)]
        return found

    def forgets(self) -> list[UUID]:
        """Take the tasks to be forgotten."""
        found = [intent.task for intent in self.session.intents if isinstance(intent, Forget)]
        self.session.intents[:] = [intent for intent in self.session.intents if not isinstance(intent, Forget)]
        return found

    def answer(self, answer: View) -> None:
        """Answer every look-up there is."""
        for lookup in self.lookups():
            self.session.joined(lookup.join, answer, self.now)

    def event(self, one: LiveEvent, task: UUID = TASK) -> None:
        """Pass in an event."""
        self.session.event(task, one, self.now)

    def tick(self, seconds: float) -> None:
        """Let time pass in half seconds, as the edge does."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 0.5)
            if self.now >= self.session.due or self.session.stalled:
                self.session.tick(self.now)

    def frames(self) -> list[dict[str, Any]]:
        """Take every frame that waits; each must be one that the contract knows."""
        found = []
        self.session.stalled = False
        while taken := self.session.outbox.take(1):
            for raw in taken:
                SERVER_FRAME.validate_json(raw)
                found.append(orjson.loads(raw))
        return found

    def stall(self) -> None:
        """Let the line take nothing until `frames`."""
        self.session.stalled = True

    def joined(self, epoch: int = 1, seq: int = 0) -> None:
        """Subscribe and be live at a position."""
        self.sub()
        self.answer(view(epoch, seq))
        assert [frame["t"] for frame in self.frames()] == ["snap"]


class Client:
    """What a client does with frames of one task, by docs/protocol.md. Raises AssertionError for a broken chain."""

    def __init__(self) -> None:
        self.task: dict[str, Any] | None = None
        self.at: tuple[int, int] | None = None
        self.ended = False
        self.resets = 0

    def take(self, frame: dict[str, Any]) -> None:
        """Fold a frame in."""
        match frame["t"]:
            case "snap":
                self.task, self.at = frame["task"], tuple(frame["at"])
                self.resets += bool(frame.get("reset"))
            case "ev":
                assert self.at is not None, f"an event before any snapshot: {frame}"
                assert frame["prev"] == list(self.at), f"prev {frame['prev']} is not where the client is, {self.at}"
                assert tuple(frame["at"]) > self.at
                self.at = tuple(frame["at"])
                if EventKind(frame["kind"]).patches:
                    self.task = {**(self.task or {}), **frame["data"]}
            case "end":
                self.task, self.ended = frame["task"], True


class TreeClient:
    """The same for a tree: one fold for each member, by the id of its task. `root` has the `end`, if it came."""

    def __init__(self, root: UUID = TASK) -> None:
        self.root = Client()
        self.members: dict[str, Client] = {str(root): self.root}
        self.errors: list[str] = []

    @property
    def tasks(self) -> dict[str, dict[str, Any] | None]:
        """Every member as it was told last."""
        return {task: client.task for task, client in self.members.items()}

    def take(self, frame: dict[str, Any]) -> None:
        """Fold a frame in."""
        match frame["t"]:
            case "snap":
                self.members.setdefault(frame["task"]["id"], Client()).take(frame)
            case "ev" if frame["prev"] is None:
                assert frame["task"] not in self.members, f"told of anew: {frame}"
                assert frame["data"]["id"] == frame["task"]
                self.members[frame["task"]] = client = Client()
                client.task, client.at = frame["data"], tuple(frame["at"])
            case "ev":
                self.members[frame["task"]].take(frame)
            case "end":
                self.root.take(frame)
            case "err":
                self.errors.append(frame["code"])
