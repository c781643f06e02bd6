"""Why a task is where it is, from what Postgres knows: one reason, the first that holds. Pure, but for the asking."""

from typing import Any, Final
from uuid import UUID

from milepost.domain.limits import EVERYBODY, Limit, Limits, Running, Scope, counts_for, crosses_tenants, grant
from milepost.domain.turns import Group, Share
from milepost.store.queues import Queues
from milepost_schemas.queue import Explanation, Lease, LimitReached, LimitScope, Reason, ShownRate
from milepost_schemas.queue import Limit as ShownLimit
from milepost_schemas.task import TaskState

AHEAD_MOST: Final = 10_000
_OVER: Final = {
    TaskState.SUCCEEDED: "it has succeeded",
    TaskState.FAILED: "it has failed",
    TaskState.CANCELLED: "it was cancelled",
}


async def explained(store: Queues, tenant: str, task: UUID) -> Explanation | None:
    """Return why a task is where it is; None: no such task. Raises Unavailable."""
    row = await store.explain(tenant, task, AHEAD_MOST)
    if row is None:
        return None
    state = TaskState(row["state"])
    about = {"task": task, "state": state}
    if state.terminal:
        return Explanation(**about, reason=Reason.OVER, detail=f"The task is over: {_OVER[state]}.")
    if state is TaskState.SCHEDULED:
        why = "the attempt before failed" if row["error"] else "it was asked for so"
        detail = f"It is not due before {_instant(row['due_at'])}: {why}."
        return Explanation(**about, reason=Reason.NOT_DUE, detail=detail, due_at=row["due_at"])
    if state is TaskState.RUNNING:
        return _running(about, row)
    if state is TaskState.WAITING:
        return Explanation(**about, reason=Reason.WAITING, detail="It waits for something that is not over yet.")
    return await _queued(store, about, row)


def _running(about: dict[str, Any], row: Any) -> Explanation:
    who = row["worker_name"] or f"worker {row['worker']}, which is gone"
    asked = " It was asked to stop." if row["cancel_requested_at"] is not None else ""
    detail = (
        f"It runs: attempt {row['attempt']} of {row['max_attempts']}, since {_instant(row['started_at'])}, at {who}, "
        f"whose lease lasts until {_instant(row['lease_until'])} and is renewed.{asked}"
    )
    lease = Lease(worker=row["worker"], name=row["worker_name"], host=row["worker_host"], until=row["lease_until"])
    return Explanation(**about, reason=Reason.RUNNING, detail=detail, lease=lease)


async def _queued(store: Queues, about: dict[str, Any], row: Any) -> Explanation:
    """Look in the order in which workers do: pauses, workers, limits, then the line."""
    rows = await store.limit_rows(row["tenant"])
    limits, paused_at = Limits(limit for limit, _ in rows), {limit.name: each["paused_at"] for limit, each in rows}
    group = Group(row["queue"], row["tenant"], row["priority"], row["type"], row["key"])
    place: dict[str, Any] = {
        "queued_for": row["queued_for"],
        "position": row["ahead"] + 1,
        "workers": row["workers"],
        "slots": row["slots"],
    }
    pause = limits.pause(group.queue, group.tenant)
    if pause is not None:
        since = paused_at[pause.name]
        whose = "for all tenants" if pause.name.owner == EVERYBODY else "for your tasks"
        detail = f"Queue {group.queue} is paused {whose} since {_instant(since)}. Resume it, and it goes on."
        return Explanation(**about, **place, reason=Reason.PAUSED, detail=detail, paused_at=since)
    if not row["workers"]:
        detail = (
            f"No live worker serves queue {group.queue} and knows type {group.type}. Start one: milepost worker "
            f"--tasks MODULE --queues {group.queue}."
        )
        return Explanation(**about, **place, reason=Reason.NO_WORKER, detail=detail)
    reached = await _reached(store, group, limits)
    if reached is not None:
        return Explanation(**about, **place, reason=Reason.LIMIT, detail=_limit_detail(reached), limit=reached)
    if row["ahead"]:
        most = "or more " if row["ahead"] >= AHEAD_MOST else ""
        detail = (
            f"It is in line: {row['ahead']:,} {most}of your tasks in queue {group.queue} are before it, by priority "
            f"and age. {row['workers']} workers with {row['slots']} slots serve it."
        )
        return Explanation(**about, **place, reason=Reason.IN_LINE, detail=detail)
    detail = (
        f"It is the first of your tasks in queue {group.queue}, and starts as soon as a worker has a free slot for "
        f"you: {row['workers']} workers with {row['slots']} slots serve it."
    )
    return Explanation(**about, **place, reason=Reason.STARTING, detail=detail)


async def _reached(store: Queues, group: Group, limits: Limits) -> LimitReached | None:
    bounds = limits.of(group)
    if not bounds:
        return None
    tenants = None if any(crosses_tenants(each.name) for each in bounds) else [group.tenant]
    running = await store.running(tenants)
    ahead = await store.ahead([each.name for each in bounds])
    limit = grant([Share(group, 1)], limits, running, ahead).held.get(group)
    if limit is None:
        return None
    free_in = None
    if limit.rate is not None:
        left = ahead.get(limit.name, 0.0) - limit.rate.period_s + limit.rate.interval_s
        free_in = round(left, 3) if left > 0 else None
    return LimitReached(
        limit=shown_limit(limit),
        running=_counted(limit, running),
        held_by=await store.holders(group.tenant, limit.name),
        free_in=free_in,
    )


def _counted(limit: Limit, running: Any) -> int:
    pairs: dict[Running, int] = dict(running)
    return sum(count for task, count in pairs.items() if counts_for(limit.name, task))


def _limit_detail(reached: LimitReached) -> str:
    limit = reached.limit
    what = f"{limit.scope} {limit.name}" if limit.name else f"each {limit.scope}"
    whose = " for all tenants together" if limit.all_tenants else ""
    if reached.free_in is not None and limit.rate is not None:
        return (
            f"The limit on {what}{whose} lets {limit.rate.count} start in {limit.rate.per:g} s; the next may in "
            f"{reached.free_in:.1f} s."
        )
    return (
        f"The limit on {what}{whose} is reached: {reached.running} of {limit.concurrency} run. It starts when one of "
        "them ends."
    )


def shown_limit(limit: Limit, paused_at: Any = None) -> ShownLimit:
    """Return a limit as the API shows it."""
    return ShownLimit(
        scope=LimitScope(limit.name.scope),
        name=limit.name.name or None,
        all_tenants=limit.name.owner == EVERYBODY and limit.name.scope is not Scope.TENANT,
        concurrency=limit.concurrency,
        rate=None if limit.rate is None else ShownRate(count=limit.rate.starts, per=limit.rate.period_s),
        paused_at=paused_at,
    )


def _instant(moment: Any) -> str:
    return "no time" if moment is None else str(moment.strftime("%Y-%m-%dT%H:%M:%SZ"))
