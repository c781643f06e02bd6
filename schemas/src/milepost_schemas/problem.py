"""Errors over HTTP: RFC 9457 problem details, from one table."""

from enum import Enum
from typing import Any, NamedTuple

from pydantic import Field

from milepost_schemas.base import Contract

MEDIA_TYPE = "application/problem+json"
TYPE_BASE = "https://milepost.dev/problems/"


class _Row(NamedTuple):
    slug: str
    status: int
    title: str


class ProblemType(Enum):
    """Each kind of refusal: its URI's last part, its status, its title."""

    INVALID = _Row("invalid-request", 422, "The request is not valid")
    MALFORMED = _Row("malformed-json", 400, "The body is not JSON")
    PAYLOAD = _Row("invalid-payload", 422, "The payload does not fit the task type")
    UNKNOWN_TYPE = _Row("unknown-type", 422, "No worker has ever announced this task type")
    KEY_REUSED = _Row("idempotency-key-reused", 422, "The idempotency key was used for another request")
    KEY_IN_FLIGHT = _Row("idempotency-key-in-flight", 409, "A request with this idempotency key is in flight")
    STATE = _Row("wrong-state", 409, "The task's state does not allow this")
    BAD_REQUEST = _Row("bad-request", 400, "The request cannot be understood")
    UNAUTHENTICATED = _Row("unauthenticated", 401, "A valid key is needed")
    FORBIDDEN = _Row("forbidden", 403, "The key does not allow this")
    NOT_FOUND = _Row("not-found", 404, "There is no such thing")
    METHOD = _Row("method-not-allowed", 405, "This method is not offered here")
    TOO_LARGE = _Row("too-large", 413, "The body is too large")
    MEDIA = _Row("unsupported-media-type", 415, "The body must be application/json")
    TOO_MANY = _Row("too-many-requests", 429, "Too many requests")
    QUOTA = _Row("quota-exceeded", 429, "A quota of the tenant is used up")
    UNAVAILABLE = _Row("unavailable", 503, "Milepost cannot take this now")
    INTERNAL = _Row("internal", 500, "Something went wrong on our side")

    @property
    def uri(self) -> str:
        """The `type` member."""
        return TYPE_BASE + self.value.slug

    def members(self, detail: str, trace_id: str | None) -> dict[str, Any]:
        """Return the members that every problem document has; `trace_id` is that of the request."""
        row = self.value
        return {"type": self.uri, "title": row.title, "status": row.status, "detail": detail, "trace_id": trace_id}


class Problem(Contract):
    """The body of every error response."""

    type: str
    title: str
    status: int
    detail: str = Field(description="What happened, what was kept, what to do next.")
    instance: str | None = None
    trace_id: str | None = None
    errors: list[dict[str, Any]] | None = Field(
        default=None, description="For invalid input: one row a finding, {path, message}."
    )
