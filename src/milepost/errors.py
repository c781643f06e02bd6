"""Every exception of Milepost. A message says what happened, what was kept and what to do next."""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple


class MilepostError(Exception):
    """Base of all errors Milepost raises on purpose."""


class SettingsError(MilepostError):
    """Settings are missing, invalid or contradict each other. Nothing was started."""


class Unavailable(MilepostError):
    """A server Milepost depends on cannot be reached now. Nothing was accepted; trying again is safe."""


class NoServer(Unavailable):
    """A server said, or its host did, that it is not there for anybody now. `gone`: not even a process is there."""

    def __init__(self, message: str, *, gone: bool) -> None:
        super().__init__(message)
        self.gone = gone


class TaskDefinitionError(MilepostError):
    """A function cannot be made a task, or two tasks share a name."""


class Permanent(MilepostError):
    """Raised by a handler: trying again would end the same way. The task fails at once."""


class RetryAfter(MilepostError):
    """Raised by a handler: try again, but not before `delay` seconds."""

    def __init__(self, delay: float, message: str = "") -> None:
        super().__init__(message or f"asked to be tried again in {delay:g} s")
        self.delay = delay


class Cancelled(MilepostError):
    """Raised inside a handler that asked whether its task was cancelled: it was."""


class ClientError(MilepostError):
    """Base of what `milepost.Client` raises."""


class Unreachable(ClientError):
    """The API or the notifier did not answer. Whether a submission got through is unknown: repeat it with its key."""


class Finding(NamedTuple):
    """What is wrong at one place of a request."""

    path: str
    """A JSON Pointer (RFC 6901) into the body, or the name of a parameter after `/`; empty: the whole."""
    message: str


class Refused(ClientError):
    """The API refused the request (RFC 9457). `status`, `type`, `detail` and `trace_id` say why.

    Raised is the class below for the problem's type; this one itself for what is none of Milepost's, such as a proxy's
    refusal, and for types newer than this client.
    """

    kind: ClassVar[str] = ""
    """The last part of the problem's `type`."""

    def __init__(
        self,
        status: int,
        type_: str,
        detail: str,
        trace_id: str | None = None,
        *,
        findings: Sequence[Finding] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__("\n  ".join([detail, *(f"{path or 'body'}: {message}" for path, message in findings)]))
        self.status = status
        self.type = type_
        self.detail = detail
        self.trace_id = trace_id
        self.findings = tuple(findings)
        """For invalid input: what is wrong, and where."""
        self.retry_after = retry_after
        """Seconds after which trying again may help; None: the API did not say."""

    @staticmethod
    def of(type_: str) -> "type[Refused]":
        """Return the class for a problem's type."""
        kind = type_.rpartition("/")[2]
        return next((each for each in Refused.__subclasses__() if each.kind == kind), Refused)


class InvalidRequest(Refused):
    """The request is not valid; `findings` say where. Nothing was stored."""

    kind = "invalid-request"


class MalformedJson(Refused):
    """The body is not JSON."""

    kind = "malformed-json"


class InvalidPayload(Refused):
    """The payload does not fit the JSON Schema of its type; `findings` say where. Nothing was stored."""

    kind = "invalid-payload"


class UnknownType(Refused):
    """No worker has ever announced this task type."""

    kind = "unknown-type"


class IdempotencyKeyReused(Refused):
    """The idempotency key was used for another request. Nothing was stored."""

    kind = "idempotency-key-reused"


class IdempotencyKeyInFlight(Refused):
    """A request with this idempotency key is in flight. The client repeats such a call by itself."""

    kind = "idempotency-key-in-flight"


class WrongState(Refused):
    """The task's state does not allow this."""

    kind = "wrong-state"


class BadRequest(Refused):
    """The request cannot be understood."""

    kind = "bad-request"


class Unauthenticated(Refused):
    """There is no key, or it is wrong, expired or revoked."""

    kind = "unauthenticated"


class Forbidden(Refused):
    """The key has not the scope that this needs, or the token does not cover it."""

    kind = "forbidden"


class NotFound(Refused):
    """There is no such thing, or it is another tenant's."""

    kind = "not-found"


class MethodNotAllowed(Refused):
    """This method is not offered there: the API is older or newer than this client."""

    kind = "method-not-allowed"


class TooLarge(Refused):
    """The body is too large. Nothing was stored; put large input elsewhere and send its URL."""

    kind = "too-large"


class UnsupportedMediaType(Refused):
    """The body must be application/json."""

    kind = "unsupported-media-type"


class TooManyRequests(Refused):
    """Too many requests for now; `retry_after` says when again."""

    kind = "too-many-requests"


class QuotaExceeded(Refused):
    """A quota of the tenant is used up."""

    kind = "quota-exceeded"


class ServiceUnavailable(Refused):
    """The API cannot take this now; the client had repeated it for a while."""

    kind = "unavailable"


class InternalError(Refused):
    """A fault of Milepost. Its log says more under `trace_id`."""

    kind = "internal"


class TaskFailed(ClientError):
    """The result of a task was asked for, and it failed or was cancelled. `task` is the task as the API shows it."""

    def __init__(self, message: str, task: object) -> None:
        super().__init__(message)
        self.task = task
