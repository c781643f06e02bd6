"""Exit statuses, and which error ends in which."""

from enum import IntEnum

from milepost.errors import MilepostError, Refused, TaskFailed, Unavailable, Unreachable


class Exit(IntEnum):
    """What a script learns from `$?`."""

    DONE = 0
    FAILED = 1
    """The task failed or was cancelled; of `dev`: a process did not start."""
    USAGE = 2
    """The command, the settings or the request is wrong."""
    UNREACHABLE = 3
    INTERRUPTED = 130


def exit_of(error: MilepostError) -> Exit:
    """Return the status a command ends with after this error."""
    if isinstance(error, TaskFailed):
        return Exit.FAILED
    if isinstance(error, (Unreachable, Unavailable)):
        return Exit.UNREACHABLE
    if isinstance(error, Refused) and (500 <= error.status < 600 or error.status == 429):
        return Exit.UNREACHABLE
    return Exit.USAGE
