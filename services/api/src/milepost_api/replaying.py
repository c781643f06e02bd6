"""Having dead letters tried again: tasks by a statement, records by sending them again to where they came from."""

from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import uuid_utils.compat as uuids

from milepost.log import Topics
from milepost.log.writer import Record
from milepost.runtime.transitions import row_moved
from milepost.store.deadletters import Failures
from milepost_api.again import run_again
from milepost_api.asked import read_model
from milepost_api.dead_records import headers_of_row, resendable
from milepost_api.endpoint import Call
from milepost_api.problems import Refusal, unavailable
from milepost_schemas import Replayed, ReplayRequest, TaskState
from milepost_schemas.deadletter import Refusal as LeftAlone

RECORDS_MOST: Final = 200
"""Records one request sends again: each may be large."""
_ACK_S: Final = 3.0


def read_request(members: Any) -> ReplayRequest:
    """Return what a body asks for. Raises Refusal with a row for each finding."""
    return read_model(
        ReplayRequest, members, "This replay cannot be done. Nothing was changed; correct it and send it again."
    )


async def replay_tasks(call: Call, asked: ReplayRequest) -> Replayed:
    """Queue failed tasks again, or schedule them at a pace. Repeating it goes on; no task is taken twice.

    What was committed is with Postgres: whoever moves due tasks does the rest, whether this process lives or not.
    Raises Refusal (429) if more would wait than may of the tenant: then none of these was taken.
    """
    store = call.services.dead_letters
    replay = asked.replay or uuids.uuid7()
    began = datetime.now(UTC) if asked.dry_run else await store.begin_replay(call.tenant, replay)
    ids = await store.failed_ids(call.tenant, failures(asked), began, asked.limit + 1)
    chosen, more = ids[: asked.limit], len(ids) > asked.limit
    if asked.dry_run:
        return Replayed(replay=replay, dry_run=True, count=len(chosen), ids=chosen, more=more)
    spacing = 0.0 if asked.rate is None else 1.0 / asked.rate
    try:
        rows = await run_again(call.services, call.tenant, chosen, replay, states=[TaskState.FAILED], spacing_s=spacing)
    except Refusal:
        if asked.replay is None:
            await store.forget_replay(call.tenant, replay)
        raise
    for row in rows:
        row_moved("replay", row, row["moved_from"])
        call.services.announcer.replayed(row)
    return Replayed(
        replay=replay,
        dry_run=False,
        count=len(rows),
        ids=[row["id"] for row in rows],
        more=more,
        last_due_at=max((row["due_at"] for row in rows if row["due_at"] is not None), default=None),
    )


def failures(asked: ReplayRequest) -> Failures:
    """Return which failed tasks a request means."""
    return Failures(asked.ids, asked.fingerprint, asked.type, asked.queue, asked.failed_from, asked.failed_before)


async def replay_records(call: Call, asked: ReplayRequest) -> Replayed:
    """Send records again to the topics they were read from, as they were.

    One that was sent and could not be marked is sent once more by the next request: readers tell copies apart. Raises
    Refusal (503) while Kafka takes nothing.
    """
    services = call.services
    replay = asked.replay or uuids.uuid7()
    limit = min(asked.limit, RECORDS_MOST)
    ids = await services.dead_letters.record_ids(failures(asked), datetime.now(UTC), limit + 1)
    chosen, more = ids[:limit], len(ids) > limit
    topics = Topics(services.settings.topic_prefix)
    acked: list[UUID] = []
    sent: list[UUID] = []
    left: list[LeftAlone] = []
    for id_ in chosen:
        row = await services.dead_letters.record(call.tenant, id_, operator=True)
        if row is None:
            continue
        why = resendable(row, topics)
        if why is not None:
            left.append(LeftAlone(id=id_, reason=why))
        elif asked.dry_run or _send(call, row, acked):
            sent.append(id_)
        else:
            break
    if asked.dry_run:
        return Replayed(replay=replay, dry_run=True, count=len(sent), ids=sent, more=more, refused=left)
    if sent:
        await services.writer.flush(_ACK_S)
        await services.dead_letters.records_replayed(acked)
    if not acked and len(left) < len(chosen):
        raise unavailable("Kafka does not take the records now. They stay where they are; try again in a moment.")
    return Replayed(
        replay=replay, dry_run=False, count=len(acked), ids=acked, more=more or len(acked) < len(sent), refused=left
    )


def _send(call: Call, row: Any, acked: list[UUID]) -> bool:
    id_: UUID = row["id"]
    # As a hint: a topic that is gone must not hold up what else this process has to send.
    record = Record(row["topic"], row["key"], row["value"], headers_of_row(row), lambda: acked.append(id_), hint=True)
    return call.services.writer.write(record)
