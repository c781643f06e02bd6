-- What Postgres knows of why a task ($2 of tenant $1) is where it is: its line, who could run it, who holds it.
-- At most $4 tasks before it are counted, of as many groups (see waiting.sql); and few more are read than are counted,
-- which age would not do: in the index it stands behind type and key.
with recursive groups as (
    -- Those of as much urgency, by jumps.
    select t.queue, t.tenant, t.priority, '' as type, '' as key, 0 as number
    from milepost.tasks as t
    where t.tenant = $1 and t.id = $2 and t.state = 'queued'
    union all
    select g.queue, g.tenant, g.priority, next.type, next.key, g.number + 1
    from groups as g
    cross join lateral milepost.group_behind(g.queue, g.tenant, g.priority, g.type, g.key, true) as next
    where g.number < $4
)
select t.id, t.tenant, t.state, t.type, t.queue, t.priority, coalesce(t.key, '') as key, t.attempt, t.max_attempts,
    t.due_at, t.started_at, t.finished_at, t.lease_until, t.worker, t.error, t.cancel_requested_at,
    extract(epoch from now() - t.queued_at)::float8 as queued_for, w.name as worker_name, w.host as worker_host,
    served.workers, served.slots,
    (
        select count(*)
        from (
            (
                select
                from milepost.tasks as o
                where t.state = 'queued' and o.state = 'queued' and o.queue = t.queue and o.tenant = t.tenant
                    and o.priority < t.priority
                limit $4
            )
            union all
            (
                select
                from groups as g
                cross join lateral (
                    select
                    from milepost.tasks as o
                    where o.state = 'queued' and o.queue = g.queue and o.tenant = g.tenant and o.priority = g.priority
                        and o.type = g.type and coalesce(o.key, '') = g.key and o.queued_at < t.queued_at
                    limit $4
                ) as older
                limit $4
            )
            limit $4
        ) as before
    )::int as ahead
from milepost.tasks as t
left join milepost.workers as w on w.id = t.worker and t.state = 'running'
cross join lateral (
    select count(*)::int as workers, coalesce(sum(l.slots), 0)::int as slots
    from milepost.workers as l
    where t.queue = any(l.queues) and t.type = any(l.types) and not l.draining
        and l.seen_at > now() - $3 * interval '1 second'
) as served
where t.tenant = $1 and t.id = $2
