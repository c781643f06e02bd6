"""The passes over all tasks that any worker makes; SKIP LOCKED shares the work among them without a leader."""

import asyncio
import random
from typing import Any

import orjson

from milepost.announce import Announcer
from milepost.domain.presence import Absences
from milepost.log import Writer
from milepost.runtime.lifecycle import jittered
from milepost.runtime.logs import get_logger
from milepost.runtime.metrics.catalogue import OUTBOX_OVERDUE
from milepost.runtime.transitions import row_moved
from milepost.store import Store
from milepost_schemas import EventKind
from milepost_worker import meter
from milepost_worker.spans import lost

log = get_logger("milepost.worker.passes")

BATCH = 200
SWEEP_EVERY_S = (0.6, 0.8)
"""Between two passes: from, to. One comes as soon as an absent worker counts as dead: two seconds after its end."""
SURELY_S = 0.01
"""Slept longer than until a moment, so that it is surely over."""
DUE_AT_MOST_S = 1.0
DUE_AT_LEAST_S = 0.02
"""What is due and not ours to take is locked by somebody who is taking it."""
OUTBOX_EVERY_S = 2.0
OUTBOX_OVERDUE_S = 5.0


class Passes:
    """Due, expiry, sweep and outbox passes."""

    def __init__(self, store: Store, announcer: Announcer, writer: Writer, *, own_traces: bool = False) -> None:
        """`own_traces`: each run of a task is a trace of its own."""
        self._own_traces = own_traces
        self._store = store
        self._announcer = announcer
        self._writer = writer
        self._poked = asyncio.Event()
        self._poke_at: float | None = None

    def poke(self, in_s: float) -> None:
        """Say that a task is due in so many seconds, which the due pass cannot know yet."""
        at = asyncio.get_running_loop().time() + in_s
        if self._poke_at is None or at < self._poke_at:
            self._poke_at = at
            self._poked.set()

    async def due(self) -> None:
        """Queue what is due and fail what came too late, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            if self._poke_at is not None and self._poke_at <= loop.time():
                self._poke_at = None
            rows = await self._store.due(BATCH)
            for row in rows:
                row_moved("due", row, "scheduled")
                self._announcer.queued(row)
            late = await self._store.expire(BATCH)
            for row in late:
                meter.ended(row["queue"], row["state"])
                row_moved("expire", row, row["moved_from"], **_error_of(row))
                self._announcer.ended(row)
            if len(rows) < BATCH and len(late) < BATCH:
                await self._sleep(await self._store.next_due())

    async def _sleep(self, next_due_s: float | None) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + max(
            DUE_AT_LEAST_S, min(DUE_AT_MOST_S, DUE_AT_MOST_S if next_due_s is None else next_due_s)
        )
        while True:
            until = deadline if self._poke_at is None else min(deadline, self._poke_at)
            if until <= loop.time():
                return
            self._poked.clear()
            try:
                async with asyncio.timeout_at(until):
                    await self._poked.wait()
            except TimeoutError:
                return

    async def sweep(self) -> None:
        """Take back tasks whose lease ran out, and those of workers that are dead, until cancelled."""
        absences = Absences()
        loop = asyncio.get_running_loop()
        while True:
            asked = loop.time()
            absent = await self._store.absent()
            dead = absences.observe(absent, asked, loop.time())
            rows = await self._store.sweep(BATCH, dead)
            for row in rows:
                self._taken_back(row)
            if len(rows) < BATCH:
                now = loop.time()
                pause_s = random.uniform(*SWEEP_EVERY_S)  # noqa: S311 - spread, not secrecy
                next_at = absences.next_at(now)
                await asyncio.sleep(pause_s if next_at is None else min(pause_s, next_at - now + SURELY_S))

    def _taken_back(self, row: Any) -> None:
        why = None if row["error"] is None else orjson.loads(row["error"])["type"]
        meter.taken_back(why)
        level = "info" if why is None else "warning"
        row_moved("sweep", row, "running", level=level, **_error_of(row))
        if not row["told"]:
            lost(row, own_trace=self._own_traces)
        if row["state"] == "queued":
            # Without an error it was given back: nothing was lost.
            self._announcer.queued(row, EventKind.QUEUED if why is None else EventKind.LEASE_LOST)
        else:
            meter.ended(row["queue"], row["state"])
            self._announcer.ended(row)

    async def outbox(self) -> None:
        """Publish completions that whoever wrote them did not get acknowledged, until cancelled."""
        while True:
            rows = await self._store.take_outbox(OUTBOX_OVERDUE_S, BATCH) if self._writer.ready else []
            for row in rows:
                self._announcer.overdue(row)
            if rows:
                OUTBOX_OVERDUE.add(len(rows))
                log.info("published overdue completions", completions=len(rows))
            if len(rows) < BATCH:
                await asyncio.sleep(jittered(1, base=OUTBOX_EVERY_S, cap=OUTBOX_EVERY_S * 1.5))


def _error_of(row: Any) -> dict[str, Any]:
    if row["error"] is None:
        return {}
    error = orjson.loads(row["error"])
    return {"error_type": error["type"], "error": error["message"]}
