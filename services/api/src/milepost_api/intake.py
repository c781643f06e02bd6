"""Taking a task in: checked, stored, then told to the world. One at a time or in a batch, the same way."""

import asyncio
from typing import Any, NamedTuple
from uuid import UUID

import orjson
import uuid_utils.compat as uuids

from milepost.announce import Hint
from milepost.errors import Unavailable
from milepost.runtime.transitions import moved
from milepost.store import NewTask, Submitted, new_task_view
from milepost_api.backlog import Admitted
from milepost_api.known_types import KnownType
from milepost_api.problems import Refusal, finding
from milepost_api.services import Services
from milepost_api.shown import as_json, row_bytes, with_links
from milepost_api.submission import fingerprint_of, new_task, read_key, read_members
from milepost_schemas import EventKind, Position, TaskState
from milepost_schemas.problem import ProblemType
from milepost_schemas.task import SubmitTask

_START = Position(0, 0)


class Taken(NamedTuple):
    """A task that is stored. `body` is it as the API shows it; `replayed`: its key had been used before."""

    id: UUID
    state: TaskState
    body: bytes
    replayed: bool


class Offer(NamedTuple):
    """A submission that is valid by itself."""

    asked: SubmitTask
    payload: dict[str, Any]
    key: str | None
    fingerprint: bytes | None


def read(members: Any, key: str | None) -> Offer:
    """Read what a caller sent. Raises Refusal."""
    asked, payload = read_members(members)
    if key is None:
        return Offer(asked, payload, None, None)
    return Offer(asked, payload, read_key(key), fingerprint_of(members))


async def take(services: Services, tenant: str, traceparent: str, offer: Offer) -> Taken:
    """Store a task and announce it. Raises Refusal; Unavailable, when it is unknown whether it was stored."""
    known = await services.types.find(offer.asked.type)
    known.check(offer.payload)
    root = None if offer.asked.parent_id is None else await _root_of(services, tenant, offer.asked.parent_id)
    new = _made(tenant, traceparent, offer, known, root)
    try:
        if _to_be_counted(services, tenant):
            await services.backlog.look(tenant, services.auth.ring.quotas(tenant))
        admitted = _admitted(services, new)
    except (Refusal, Unavailable):
        # Nothing more may wait. But what is asked for once more waits already, or is done.
        before = None if offer.key is None else await services.earlier((tenant, offer.key))
        if before is None:
            raise
        return _earlier(services, before, new.fingerprint)
    return taken(services, new, await _stored(services, new, admitted))


def take_soon(
    services: Services, tenant: str, traceparent: str, offer: Offer
) -> "tuple[NewTask, asyncio.Future[Submitted]] | None":
    """Have a task stored, and return it with what will say so, for `taken`; None if something has to be asked first.

    Raises Refusal; Unavailable: it was not stored.
    """
    known = services.types.known(offer.asked.type)
    if known is None or offer.asked.parent_id is not None or _to_be_counted(services, tenant):
        return None
    known.check(offer.payload)
    new = _made(tenant, traceparent, offer, known, None)
    try:
        admitted = _admitted(services, new)
    except Refusal:
        if offer.key is None:
            raise
        return None  # it may be there already: `take` asks
    return new, _stored(services, new, admitted)


def taken(services: Services, new: NewTask, submitted: Submitted) -> Taken:
    """Announce a task that was stored. Raises Refusal if its key belongs to another request."""
    if submitted.before is not None:
        return _earlier(services, submitted.before, new.fingerprint)
    moved("submit", new.id, new.tenant, new.type, new.queue, None, submitted.state, 0, 0, new.traceparent)
    view = as_json(new_task_view(new, submitted))
    _announce(services, new, submitted, view)
    return Taken(new.id, submitted.state, with_links(view, str(new.id), services.settings), replayed=False)


def _made(tenant: str, traceparent: str, offer: Offer, known: KnownType, root: UUID | None) -> NewTask:
    return new_task(
        uuids.uuid7(),
        tenant,
        offer.asked,
        offer.payload,
        known.info,
        root=root,
        traceparent=traceparent,
        key=offer.key,
        fingerprint=offer.fingerprint,
    )


def _admitted(services: Services, new: NewTask) -> Admitted | None:
    """Count a task in; None where nobody counts. Raises Refusal (429)."""
    quotas = services.auth.ring.quotas(new.tenant)
    return services.backlog.admit(new.tenant, quotas, _size(new)) if quotas.counts_tasks else None


def _stored(services: Services, new: NewTask, admitted: Admitted | None) -> "asyncio.Future[Submitted]":
    """Have a task stored. Raises Unavailable: it was not."""
    if admitted is None:
        return services.submit.put(new)
    try:
        write = services.submit.put(new._replace(counted_bytes=_size(new)))
    except Unavailable:
        admitted.settle()
        raise
    write.add_done_callback(lambda _write: admitted.settle())
    return write


def _size(new: NewTask) -> int:
    return len(new.payload.encode())


def _to_be_counted(services: Services, tenant: str) -> bool:
    return services.auth.ring.quotas(tenant).counts_tasks and not services.backlog.known(tenant)


async def _root_of(services: Services, tenant: str, parent: UUID) -> UUID:
    row = await services.read((tenant, parent))
    if row is None:
        detail = "parent_id is not the id of one of your tasks. Nothing was stored."
        raise Refusal(ProblemType.INVALID, detail, [finding(("parent_id",), "no such task")])
    root: UUID = row["root_id"]
    return root


def _earlier(services: Services, row: Any, fingerprint: bytes | None) -> Taken:
    if row["fingerprint"] != fingerprint:
        detail = (
            f"This idempotency key belongs to task {row['id']}, which was made from another body. Nothing was stored; "
            "use a new key for a new task."
        )
        raise Refusal(ProblemType.KEY_REUSED, detail)
    return Taken(row["id"], TaskState(row["state"]), row_bytes(row, services.settings), replayed=True)


def _announce(services: Services, new: NewTask, submitted: Submitted, view: bytes) -> None:
    queued = submitted.state == TaskState.QUEUED
    kind = EventKind.QUEUED if queued else EventKind.SCHEDULED
    root = new.root_id or new.id
    services.announcer.event(new.id, new.tenant, root, _START, kind, orjson.Fragment(view), new.traceparent)
    if queued:
        services.announcer.dispatch(
            Hint(new.id, new.tenant, new.type, new.queue, new.priority, 0, new.traceparent, new.key)
        )
