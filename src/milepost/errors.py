"""Every exception of Milepost. A message says what happened, what was kept and what to do next."""


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


class Refused(ClientError):
    """The API refused the request (RFC 9457). `status`, `type`, `detail` and `trace_id` say why."""

    def __init__(self, status: int, kind: str, detail: str, trace_id: str | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.type = kind
        self.detail = detail
        self.trace_id = trace_id


class TaskFailed(ClientError):
    """The result of a task was asked for, and it failed or was cancelled. `task` is the task as the API shows it."""

    def __init__(self, message: str, task: object) -> None:
        super().__init__(message)
        self.task = task
