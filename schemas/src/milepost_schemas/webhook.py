"""Webhooks: whom a tenant has told over HTTP that tasks end, what they are sent, and what came of it."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, StringConstraints, model_validator

from milepost_schemas.base import Contract, Request, Timestamp
from milepost_schemas.completion import Completion
from milepost_schemas.task import Labels, Name, Text

REPLAY_MOST = 1_000
"""Deliveries one request may have made once more."""
OVERLAP_MOST_S = 7 * 86_400

Ending = Literal["succeeded", "failed", "cancelled"]
DeliveryStanding = Literal["pending", "sending", "delivered", "failed"]
Url = Annotated[str, StringConstraints(min_length=1, max_length=2048)]
Names = Annotated[list[Name], Field(min_length=1, max_length=100)]
Endings = Annotated[list[Ending], Field(min_length=1, max_length=3)]


class NewWebhook(Request):
    """A webhook to be made. Filters that are left out let everything through."""

    url: Url = Field(description="https://, with the name of a host.")
    types: Names | None = Field(default=None, description="Only tasks of these types.")
    states: Endings | None = Field(default=None, description="Only these ends.")
    labels: Labels | None = Field(default=None, description="Only tasks that have all of these.")
    description: Text | None = None


class WebhookChange(Request):
    """What to change of a webhook. What is left out stays; a filter that is null lets everything through."""

    url: Url | None = None
    types: Names | None = None
    states: Endings | None = None
    labels: Labels | None = None
    description: Text | None = None
    enabled: bool | None = None

    @model_validator(mode="after")
    def _something(self) -> "WebhookChange":
        if not self.model_fields_set:
            raise ValueError("say what to change")
        for name in ("url", "enabled"):
            if name in self.model_fields_set and getattr(self, name) is None:
                raise ValueError(f"{name} cannot be null")
        return self


class Webhook(Contract):
    """A webhook as the API shows it."""

    id: UUID
    url: str
    types: list[str] | None = None
    states: list[str] | None = None
    labels: dict[str, str] | None = None
    description: str | None = None
    enabled: bool
    disabled_at: Timestamp | None = None
    disabled_reason: str | None = None
    failing_since: Timestamp | None = Field(default=None, description="Since then every attempt has failed.")
    failures: int = Field(default=0, description="Attempts that failed since then.")
    last_error: str | None = None
    secret_old_until: Timestamp | None = Field(
        default=None, description="Until then the secret before the last rotation signs too."
    )
    created_at: Timestamp


class WebhookWithSecret(Webhook):
    """A webhook with its secret, which is shown this once."""

    secret: str = Field(description="Of Standard Webhooks: `whsec_` and base64.")


class WebhookList(Contract):
    """The tenant's webhooks, the oldest first."""

    items: list[Webhook]


class SecretRotation(Request):
    """How to go from a secret to the next."""

    overlap: float = Field(
        default=86_400, ge=0, le=OVERLAP_MOST_S, description="Seconds for which the secret of before signs too."
    )


class WebhookDelivery(Contract):
    """One end of a task told to one webhook, or a ping."""

    id: UUID
    webhook: UUID
    task: UUID | None = Field(default=None, description="Null: a ping.")
    epoch: int | None = None
    type: str | None = Field(default=None, description="Of the task.")
    outcome: str | None = Field(default=None, description="How the task ended.")
    state: DeliveryStanding
    attempts: int
    created_at: Timestamp
    next_attempt_at: Timestamp | None = Field(default=None, description="While it is pending.")
    ended_at: Timestamp | None = None
    status: int | None = Field(default=None, description="Of the last answer.")
    error: str | None = Field(default=None, description="Why the last attempt failed.")


class WebhookDeliveryPage(Contract):
    """One page of a webhook's log, the newest first."""

    items: list[WebhookDelivery]
    next: str | None = Field(default=None, description="Opaque cursor: pass it as `cursor`.")


class DeliveryAttempt(Contract):
    """One request to the receiver."""

    attempt: int
    at: Timestamp
    seconds: float | None = None
    status: int | None = Field(default=None, description="Null: there was no answer.")
    error: str | None = None
    answer: str | None = Field(default=None, description="The first 1,024 bytes of what came back.")


class WebhookDeliveryDetail(WebhookDelivery):
    """A delivery with its attempts, the newest first, 200 at most. One that is under way is not among them."""

    log: list[DeliveryAttempt]


class DeliveryReplay(Request):
    """Which deliveries of a webhook to make once more: those named, or all in a state that were noted in a span."""

    ids: list[UUID] | None = Field(default=None, min_length=1, max_length=REPLAY_MOST)
    state: Literal["delivered", "failed"] | None = None
    noted_from: Timestamp | None = None
    noted_before: Timestamp | None = None
    limit: int = Field(default=REPLAY_MOST, ge=1, le=REPLAY_MOST, description="Of those in a span, at a time.")
    cursor: str | None = Field(default=None, description="`next` of the answer before, with the same members.")

    @model_validator(mode="after")
    def _which(self) -> "DeliveryReplay":
        if all(one is None for one in (self.ids, self.state, self.noted_from, self.noted_before)):
            raise ValueError("say which: ids, state, noted_from or noted_before")
        return self


class DeliveriesReplayed(Contract):
    """Deliveries that are pending again."""

    count: int
    ids: list[UUID]
    more: bool = Field(description="The limit was reached: repeat the request with `next` as `cursor`.")
    next: str | None = Field(default=None, description="Opaque cursor: where the same replay goes on.")


class TaskWebhook(Contract):
    """What a receiver is sent when a task ends. Its `webhook-id` is the completion's id, the same on every copy."""

    type: Literal["task.succeeded", "task.failed", "task.cancelled"]
    timestamp: Timestamp = Field(description="When the task ended.")
    data: Completion


class PingData(Contract):
    """What a ping is about."""

    webhook: UUID


class PingWebhook(Contract):
    """What a receiver is sent when somebody tries a webhook."""

    type: Literal["ping"]
    timestamp: Timestamp
    data: PingData
