"""Watch tokens and tickets: what a page may be given to watch, for a while."""

from typing import Literal, Self
from uuid import UUID

from pydantic import Field, model_validator

from milepost_schemas.base import Contract, Request, Timestamp
from milepost_schemas.feed import FeedFilter
from milepost_schemas.task import Name, Task, Text

TTL_DEFAULT = 900
TTL_MAX = 3600


class Label(Request):
    """A label with its value."""

    name: Name
    value: Text


class _Watchable(Request):
    task: UUID | None = Field(default=None, description="This task and its descendants, those to come included.")
    label: Label | None = Field(default=None, description="Tasks that have this label with this value.")
    feed: Literal["tasks"] | None = Field(default=None, description="The feed of all tasks, and no task by itself.")
    filter: FeedFilter | None = Field(default=None, description="Of the feed: only of these tasks.")

    @property
    def named(self) -> int:
        """How many things are named."""
        return 3 - [self.task, self.label, self.feed].count(None)

    @model_validator(mode="after")
    def _filter_of_a_feed(self) -> Self:
        if self.filter is not None and self.feed is None:
            raise ValueError("a filter is of a feed, and this names none")
        return self


class WatchTokenRequest(_Watchable):
    """What the token is to cover: exactly one of the first three."""

    ttl: int = Field(default=TTL_DEFAULT, ge=1, le=TTL_MAX, description="Seconds it is good for.")

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        if self.named != 1:
            raise ValueError("name a task, a label or a feed, one of them")
        return self


class TicketRequest(_Watchable):
    """What the ticket is to cover: one of the first three; none of them: whatever the caller may watch."""

    ttl: int | None = Field(
        default=None, ge=1, le=TTL_MAX, description="Seconds that what it opens may stay open; 900 by default."
    )

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        if self.named > 1:
            raise ValueError("name a task, a label or a feed, one of them, or nothing")
        return self


class WatchToken(Contract):
    """A signed token for the stream; whoever holds it may watch what it covers until it expires."""

    token: str
    expires_at: Timestamp


class Ticket(Contract):
    """Lets one client in, once, as `?ticket=` in the URL of the stream."""

    ticket: str
    expires_at: Timestamp = Field(description="It has to be used before; what it opened stays open for `ttl`.")


class AcceptedTask(Task):
    """A task that was just submitted or retried, and what a page needs to watch it."""

    watch_token: str | None = Field(
        default=None, description="Good for 15 minutes, for this task and its descendants, on the stream only."
    )
