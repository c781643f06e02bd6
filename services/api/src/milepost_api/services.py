"""What the handlers work with: made once, by the composition root."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from milepost.announce import Announcer
from milepost.live import Snapshots, Tickets
from milepost.log import Writer
from milepost.runtime.auth import Authenticator
from milepost.runtime.batching import GroupCommit
from milepost.runtime.metrics.exposition import Exposition
from milepost.runtime.settings import Settings
from milepost.runtime.standing import Standings
from milepost.store import NewTask, Store, Submitted
from milepost.store.deadletters import DeadLetters
from milepost.store.keys import Keys
from milepost.store.queues import Queues
from milepost.store.retention import Retention
from milepost.store.webhooks import Webhooks
from milepost_api.backlog import Backlog
from milepost_api.cursors import Cursors
from milepost_api.known_types import KnownTypes
from milepost_api.rates import Rates
from milepost_api.trees import Trees
from milepost_api.waiting import Waits

Submit = GroupCommit[NewTask, Submitted]
Read = GroupCommit[tuple[str, UUID], Any | None]
"""(tenant, task) → row or None, many at once."""
Earlier = GroupCommit[tuple[str, str], Any | None]
"""(tenant, idempotency key) → row of the task that has it, or None, many at once."""


@dataclass(frozen=True, slots=True)
class Services:
    """Everything with a connection or a memory."""

    settings: Settings
    auth: Authenticator
    store: Store
    dead_letters: DeadLetters
    queues: Queues
    retention: Retention
    keys: Keys
    webhooks: Webhooks
    rates: Rates
    backlog: Backlog
    submit: Submit
    read: Read
    earlier: Earlier
    writer: Writer
    announcer: Announcer
    trees: Trees
    types: KnownTypes
    cursors: Cursors
    waits: Waits
    standings: Standings
    tickets: Tickets
    snapshots: Snapshots
    exposition: Exposition
