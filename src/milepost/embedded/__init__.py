"""Real Kafka, Postgres and Redis from packages, for development and tests.

`Stack` runs all three under one home directory; `ManagedProcess` runs any child process that must not
outlive us.
"""

from milepost.embedded.errors import (
    DownloadFailed,
    EmbeddedError,
    NoSpace,
    PortInUse,
    ProcessError,
    ServerFailed,
    StackRunning,
    Unsupported,
)
from milepost.embedded.home import temporary_home
from milepost.embedded.ports import Ports
from milepost.embedded.processes import Account, ManagedProcess
from milepost.embedded.stack import Stack

__all__ = [
    "Account",
    "DownloadFailed",
    "EmbeddedError",
    "ManagedProcess",
    "NoSpace",
    "PortInUse",
    "Ports",
    "ProcessError",
    "ServerFailed",
    "Stack",
    "StackRunning",
    "Unsupported",
    "temporary_home",
]
