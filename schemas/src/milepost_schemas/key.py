"""API keys: what they allow, how they are asked for and shown."""

from enum import StrEnum
from typing import Annotated, Self
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from milepost_schemas.base import Contract, Request, Timestamp
from milepost_schemas.task import Text

LASTS_MOST = 10 * 366 * 24 * 3600
"""Seconds; whoever wants longer wants a key that does not expire."""
TenantName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]


class Scope(StrEnum):
    """What a key lets its holder do. None of them includes another."""

    SUBMIT = "submit"
    """Make tasks."""
    READ = "read"
    """See tasks, types, workers and dead letters, and watch."""
    OPERATE = "operate"
    """Change what is there: cancel, retry, replay, pause."""
    ADMIN = "admin"
    """Make and revoke keys, and set up what belongs to the tenant as a whole."""


def _each_once(scopes: list[Scope]) -> list[Scope]:
    return [scope for scope in Scope if scope in scopes]


class KeyRequest(Request):
    """A key to be made. Without `expires_at` and `expires_in` it is good until it is revoked."""

    name: Annotated[Text, Field(min_length=1, description="For people: who uses it, and where.")]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=16), AfterValidator(_each_once)] = Field(
        default=[Scope.SUBMIT, Scope.READ], description="What it allows; none includes another."
    )
    tenant: TenantName | None = Field(
        default=None,
        description="Whose it is to be, by default that of the key used. Another tenant, which this makes if there is "
        "none, takes a key of the installation's own tenant.",
    )
    expires_at: Timestamp | None = Field(default=None, description="Until when it is good.")
    expires_in: float | None = Field(default=None, gt=0, le=LASTS_MOST, description="The same in seconds from now.")

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if self.expires_at is not None and self.expires_in is not None:
            raise ValueError("give expires_at or expires_in, not both")
        return self


class Key(Contract):
    """A key as it is shown: never the key itself."""

    id: UUID
    tenant: str
    prefix: str = Field(description="What it begins with.")
    name: str
    scopes: list[Scope]
    created_at: Timestamp
    created_by: UUID | None = Field(default=None, description="The key that made it; null: that in the settings.")
    expires_at: Timestamp | None = None
    last_used_at: Timestamp | None = Field(default=None, description="To about a minute.")
    revoked_at: Timestamp | None = None


class NewKey(Key):
    """A key that was just made."""

    key: str = Field(description="The key itself. It is shown this once and kept nowhere.")


class KeyPage(Contract):
    """Keys, the newest first."""

    items: list[Key]
    next: str | None = Field(default=None, description="`cursor` of the next page; null on the last.")
