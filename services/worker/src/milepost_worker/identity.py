"""Who this worker is."""

import os
import socket
from dataclasses import dataclass
from uuid import UUID

import uuid_utils.compat as uuid_utils

from milepost import __version__
from milepost.errors import SettingsError
from milepost.runtime.settings import Settings
from milepost.store import WorkerBeat
from milepost.tasks.registry import Registry
from milepost_schemas.queues import queues_problem


@dataclass(frozen=True, slots=True)
class Identity:
    """A worker process: new with each start, so that nothing of an earlier one is mistaken for its own."""

    id: UUID
    name: str
    queues: list[str]
    types: list[str]

    @classmethod
    def new(cls, settings: Settings, registry: Registry) -> "Identity":
        """Serve the queues of the settings, or those of the tasks. Raises SettingsError if there is nothing to run."""
        if not len(registry):
            raise SettingsError(
                "This worker knows no tasks. Name modules that define some: --tasks my.tasks, or MILEPOST_TASKS."
            )
        queues = settings.queues or sorted({definition.queue for definition in registry})
        if problem := queues_problem(queues):
            raise SettingsError(f"{problem}. Rename one of them; nothing was started.")
        # Any queue may carry any type: submitters choose. So types are not filtered by queue here.
        types = sorted(definition.type for definition in registry)
        return cls(uuid_utils.uuid7(), f"{socket.gethostname()}-{os.getpid()}", queues, types)

    def beat(self, slots: int, running: int, *, draining: bool, presence: bool, rates: str | None) -> WorkerBeat:
        """Return what it says of itself now."""
        return WorkerBeat(
            id=self.id,
            name=self.name,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=__version__,
            queues=self.queues,
            types=self.types,
            slots=slots,
            running=running,
            draining=draining,
            presence=presence,
            rates=rates,
        )
