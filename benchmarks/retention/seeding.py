"""A million tasks that ended months ago, as they are then."""

from typing import Any

_FILL = 50_000
# Each ran once, some twice, one in twenty failed, results of some hundred bytes.
_OLD = """
with made as (
    insert into milepost.tasks (
        id, tenant, type, queue, priority, state, epoch, seq, attempt, max_attempts, payload, result, error, labels,
        root_id, traceparent, idempotency_key, fingerprint, created_at, queued_at, started_at, finished_at
    )
    select
        n.id, 'tenant-' || n.n % 20, 'demo.echo', 'old-' || n.n % 3, 2,
        case when n.n % 20 = 0 then 'failed' else 'succeeded' end, 1, 2, 1, 3,
        '{"n": 1}', json_build_object('text', repeat('x', 300)),
        case when n.n % 20 = 0 then '{"type": "Refused", "message": "no", "retryable": false}'::json end,
        '{"team": "red"}', n.id, '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
        case when n.n % 4 = 0 then 'key-' || n.n end, case when n.n % 4 = 0 then sha256(n.n::text::bytea) end,
        n.at, n.at, n.at, n.at + interval '1 second'
    from (
        select g as n, at, (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0')
            || '7' || substr(replace(gen_random_uuid()::text, '-', ''), 14))::uuid as id
        from generate_series($1::int, $1 + $2 - 1) as g
        cross join lateral (select now() - interval '200 days' + g * interval '0.1 seconds' as at) as t
    ) as n
    returning id, finished_at
)
insert into milepost.attempts (task_id, epoch, attempt, outcome, error, started_at, finished_at)
select id, 0, 1, 'failed', '{"type": "Refused"}', finished_at, finished_at from made where random() < 0.2
"""
_COUNT = "select count(*) from milepost.tasks where queue like 'old-%'"


async def count(database: Any) -> int:
    """Return how many there are."""
    number: int = await database.fetchval(_COUNT)
    return number


async def seed(database: Any, tasks: int) -> None:
    """Store them in three queues, in a database that has none."""
    for first in range(0, tasks, _FILL):
        await database.execute(_OLD, first, min(_FILL, tasks - first))
