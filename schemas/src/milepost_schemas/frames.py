"""Frames of the WebSocket subprotocol `milepost.v1` (docs/protocol.md), and its close codes."""

from enum import Enum
from typing import Annotated, Any, Literal, NamedTuple, Self
from uuid import UUID

from pydantic import Field, TypeAdapter, model_validator

from milepost_schemas.base import Contract, Request
from milepost_schemas.event import EventKind
from milepost_schemas.feed import FeedFilter
from milepost_schemas.position import Position

SUBPROTOCOL = "milepost.v1"

SubscriptionId = Annotated[int, Field(ge=0, le=2**31 - 1)]


class _Close(NamedTuple):
    code: int
    text: str
    reconnect: bool


class CloseCode(Enum):
    """Why the server closes. 4000-4499: reconnect and resume; 4500-4999: stop."""

    DRAINING = _Close(4001, "draining", reconnect=True)
    TOO_SLOW = _Close(4002, "too slow", reconnect=True)
    TOKEN_EXPIRED = _Close(4003, "token expired", reconnect=True)
    NO_PONG = _Close(4004, "no pong", reconnect=True)
    UNAVAILABLE = _Close(4005, "unavailable", reconnect=True)
    BAD_TOKEN = _Close(4500, "bad token", reconnect=False)
    PROTOCOL_VIOLATION = _Close(4501, "protocol violation", reconnect=False)
    FORBIDDEN = _Close(4502, "forbidden", reconnect=False)
    OVER_LIMIT = _Close(4503, "over a limit", reconnect=False)
    NO_HELLO = _Close(4504, "no hello in time", reconnect=False)

    @property
    def code(self) -> int:
        """The number on the wire."""
        return self.value.code

    @property
    def text(self) -> str:
        """The reason on the wire."""
        return self.value.text


def reconnects(code: int | None) -> bool:
    """Whether a client comes back after this close code (None: the connection broke without one)."""
    return code is None or not 4500 <= code <= 4999


class Hello(Request):
    """First frame of a client, within 5 s; later, with another token, the answer to `refresh`."""

    t: Literal["hello"]
    token: Annotated[str, Field(max_length=4096)]


TAIL_MAX = 256
"""Streamed events that are kept of a task, about."""


class Sub(Request):
    """Watch one task (`from` is the last position the client has), or the feed of all tasks of the tenant.

    With `tree`, descendants of the task are told of too, those to come included.
    """

    t: Literal["sub"]
    id: SubscriptionId
    task: UUID | None = None
    feed: Literal["tasks"] | None = None
    filter: FeedFilter | None = Field(default=None, description="Of a feed: only of these tasks.")
    from_: Position | None = Field(default=None, alias="from")
    tree: Annotated[bool, Field(strict=True)] = True
    tail: int | None = Field(
        default=None, ge=0, le=TAIL_MAX, description="So many of the last streamed events go with each snap; 0: none."
    )

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        if (self.task is None) == (self.feed is None):
            raise ValueError("sub names a task or a feed, one of them")
        if self.feed is not None and self.from_ is not None:
            raise ValueError("a feed has no positions to come back to; read the list again instead of from")
        if self.feed is not None and "tree" in self.model_fields_set:
            raise ValueError("a feed tells of every task, each by itself; tree goes with a task")
        if self.feed is not None and self.tail is not None:
            raise ValueError("a feed has no tail; it is of one task")
        if self.feed is None and self.filter is not None:
            raise ValueError("a filter is of a feed, and this names a task")
        return self


class Unsub(Request):
    """Stop a subscription."""

    t: Literal["unsub"]
    id: SubscriptionId


class Ping(Request):
    """Either side may ask; the other answers with pong."""

    t: Literal["ping"]


class Pong(Request):
    """Answer to ping."""

    t: Literal["pong"]


ClientFrame = Annotated[Hello | Sub | Unsub | Ping | Pong, Field(discriminator="t")]
CLIENT_FRAME: TypeAdapter[Hello | Sub | Unsub | Ping | Pong] = TypeAdapter(ClientFrame)


class Welcome(Contract):
    """The hello was good."""

    t: Literal["welcome"] = "welcome"
    session: str
    ping: float = Field(description="Seconds between the server's pings.")
    max_subs: int
    expires: float | None = Field(
        default=None, description="Seconds until the token runs out; absent for a key, which does not."
    )


class Streamed(Contract):
    """One streamed event of before; `data` as in an `ev`."""

    at: Position
    kind: EventKind
    data: dict[str, Any]


class Snap(Contract):
    """The whole task at a position. Replaces whatever the client had."""

    t: Literal["snap"] = "snap"
    id: SubscriptionId
    at: Position
    task: dict[str, Any]
    reset: bool | None = Field(default=None, description="True: `from` could not be resumed; events were skipped.")
    traceparent: str | None = None
    age: float | None = Field(default=None, description="Seconds since the last event was applied; absent if unknown.")
    tail: list[Streamed] | None = Field(
        default=None, description="If asked for: what was streamed last, oldest first, none later than `at`."
    )


class Ev(Contract):
    """An event. `prev`: position of the task last sent to this subscription; another than the client's own means loss.

    Null: the first word of a descendant; `data` is the whole task.
    """

    t: Literal["ev"] = "ev"
    id: SubscriptionId
    task: UUID
    at: Position
    prev: Position | None
    kind: EventKind
    data: dict[str, Any]
    merged: int | None = Field(default=None, description="So many earlier events were folded into this one.")
    traceparent: str | None = None
    trace_id: str | None = Field(default=None, description="Of the task, as in the task itself.")


class End(Contract):
    """The task subscribed to is over; nothing follows for this subscription, nor of descendants."""

    t: Literal["end"] = "end"
    id: SubscriptionId
    at: Position
    task: dict[str, Any]


class Live(Contract):
    """The feed is on: every change from now on comes. What was before is in `GET /v1/tasks`."""

    t: Literal["live"] = "live"
    id: SubscriptionId
    reset: bool | None = Field(default=None, description="True: changes were missed; read the list again.")


class Change(Contract):
    """What happened to one task of a feed; `data` as in an `ev`."""

    task: UUID
    at: Position
    kind: EventKind
    data: dict[str, Any]
    trace_id: str | None = Field(default=None, description="Of the task, as in the task itself.")


class Changes(Contract):
    """What happened to the tasks of a feed since the last of these frames, in order for each task."""

    t: Literal["changes"] = "changes"
    id: SubscriptionId
    changes: list[Change]


class Lag(Contract):
    """Whether events are left out because the client is slow; snapshots make up for them."""

    t: Literal["lag"] = "lag"
    on: bool


class Err(Contract):
    """Something the client asked for cannot be done; the connection stays."""

    t: Literal["err"] = "err"
    id: SubscriptionId | None = None
    code: str
    message: str


class Refresh(Contract):
    """The token runs out soon: say hello again, with another one."""

    t: Literal["refresh"] = "refresh"
    in_: float = Field(alias="in", description="Seconds until then; after that the connection is closed with 4003.")


class Bye(Contract):
    """The server is draining; reconnect after so many milliseconds."""

    t: Literal["bye"] = "bye"
    after: int


AnyServerFrame = Welcome | Snap | Ev | End | Live | Changes | Lag | Err | Refresh | Bye | Ping | Pong
ServerFrame = Annotated[AnyServerFrame, Field(discriminator="t")]
SERVER_FRAME: TypeAdapter[AnyServerFrame] = TypeAdapter(ServerFrame)
