"""Looks at Postgres and at what it knows of the work."""

import time
from typing import Any

import asyncpg

from milepost.cli.examine import judge
from milepost.cli.examine.finding import Finding
from milepost.runtime.settings import Settings
from milepost.store import pending
from milepost.store.hosts import Hosts, single_urls
from milepost.store.store import LIVE_S

PATIENCE_S = 5.0
_BOOK = """
select (select count(*) from milepost.outbox) as outbox,
       (select extract(epoch from now() - min(created_at))::float8 from milepost.outbox) as outbox_age,
       (select count(*) from milepost.tasks where state = 'queued') as queued,
       (select extract(epoch from now() - min(due_at))::float8 from milepost.tasks
        where state = 'queued') as queued_age,
       (select count(*) from milepost.tasks
        where state = 'running' and lease_until < now() - $1 * interval '1 second') as overdue
"""
_WORKERS = """
select id, name, started_at, extract(epoch from now() - seen_at)::float8 as seen_s, running, slots,
       extract(epoch from now() - started_at)::float8 as up_s, presence
from milepost.workers where seen_at > now() - interval '1 day' order by started_at
"""

_WEBHOOKS = "select count(*) from milepost.webhooks where deleted_at is null"
# One that a request disabled is as its tenant wants it, and is none of these unless it failed before.
_FAILING = """
select id, tenant, extract(epoch from now() - failing_since)::float8 as failing_s, failures,
       disabled_at is not null as disabled
from milepost.webhooks where deleted_at is null and failing_since is not null order by failing_since, id
"""


async def examine_postgres(settings: Settings) -> list[Finding]:
    """Look at the server that takes writes. Raises Unavailable when there is none."""
    urls = single_urls(settings.database_url.get_secret_value())
    try:
        connection = await Hosts(settings.database_url.get_secret_value()).connect(command_timeout=PATIENCE_S)
    except asyncpg.PostgresError as error:
        advice = "Check role, password and database in MILEPOST_DATABASE_URL."
        return [Finding("postgres", ok=False, detail=str(error), advice=advice)]
    try:
        version = connection.get_server_version()
        name = f"Postgres {version.major}.{version.minor}"
        if len(urls) > 1:
            name += f" (one of {len(urls)} hosts)"
        if missing := await pending(settings):
            detail = f"{name} answers; migrations are missing: {', '.join(missing)}"
            return [Finding("postgres", ok=False, detail=detail, advice="Run `milepost migrate`.")]
        workers = [judge.WorkerRow(*row.values()) for row in await connection.fetch(_WORKERS)]
        return [
            Finding("postgres", ok=True, detail=f"{name}, writable, up to date"),
            judge.clocks(await _clock_offset(connection), workers),
            *judge.book(judge.Book(*(await connection.fetch(_BOOK, judge.SWEEP_S))[0].values())),
            judge.presence(workers, LIVE_S, wanted=settings.presence),
            *await _webhooks(connection),
        ]
    finally:
        await connection.close(timeout=1)


async def _webhooks(connection: Any) -> list[Finding]:
    failing = [judge.WebhookRow(*row.values()) for row in await connection.fetch(_FAILING)]
    return judge.webhooks(await connection.fetchval(_WEBHOOKS), failing)


async def busy_workers(settings: Settings) -> bool:
    """Return whether all live workers together have no free slot."""
    connection = await Hosts(settings.database_url.get_secret_value()).connect(command_timeout=PATIENCE_S)
    try:
        rows = [judge.WorkerRow(*row.values()) for row in await connection.fetch(_WORKERS)]
    finally:
        await connection.close(timeout=1)
    live = [row for row in rows if row.seen_s <= LIVE_S]
    return bool(live) and all(row.running >= row.slots for row in live)


async def _clock_offset(connection: Any) -> float:
    """Return by how many seconds Postgres is ahead of this host, give or take half a round trip."""
    before = time.time()
    there = float(await connection.fetchval("select extract(epoch from clock_timestamp())::float8"))
    return there - (before + time.time()) / 2
