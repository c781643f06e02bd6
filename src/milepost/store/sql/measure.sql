-- What metrics say of all that is in Postgres; $1: the own tenant, at most $2 rows of anything are counted, a worker
-- that was seen in the last $3 seconds lives. Each part is a look into an index that holds what is open, and no more.
with recursive lines as (
    select queue from milepost.waiting_queues() as w (queue)
),
depths as (
    -- A tenant's tasks in a queue are side by side in an index: the own tenant's, those of tenants before, and behind.
    select l.queue, w.priority, w.own, count(*)::float8 as number, min(w.queued_at) as oldest
    from lines as l
    cross join lateral (
        (
            select t.priority, t.queued_at, true as own
            from milepost.tasks as t
            where t.state = 'queued' and t.queue = l.queue and t.tenant = $1
            limit $2
        )
        union all
        (
            select o.priority, o.queued_at, false
            from (
                (
                    select t.priority, t.queued_at
                    from milepost.tasks as t
                    where t.state = 'queued' and t.queue = l.queue and t.tenant < $1
                    limit $2
                )
                union all
                (
                    select t.priority, t.queued_at
                    from milepost.tasks as t
                    where t.state = 'queued' and t.queue = l.queue and t.tenant > $1
                    limit $2
                )
                limit $2
            ) as o
        )
    ) as w
    group by 1, 2, 3
),
groups as (
    -- Of more than are counted the oldest may not be among them. It is the first of a tenant, priority, type and key: by
    -- jumps from one to the next, 500 of a queue at most.
    select queue, '' as tenant, (-1)::smallint as priority, '' as type, '' as key, null::timestamptz as queued_at,
        0 as number
    from lines
    union all
    select g.queue, next.tenant, next.priority, next.type, next.key, next.queued_at, g.number + 1
    from groups as g
    cross join lateral (
        select t.tenant, t.priority, t.type, coalesce(t.key, '') as key, t.queued_at
        from milepost.tasks as t
        where t.state = 'queued' and t.queue = g.queue
            and (t.tenant, t.priority, t.type, coalesce(t.key, '')) > (g.tenant, g.priority, g.type, g.key)
        order by t.tenant, t.priority, t.type, coalesce(t.key, ''), t.queued_at
        limit 1
    ) as next
    where g.number < 500
),
fronts as (
    select queue, priority, tenant = $1 as own, min(queued_at) as queued_at
    from groups
    where number > 0
    group by 1, 2, 3
),
busy as (
    select queue, count(*)::float8 as number, min(lease_until) as lease_until
    from milepost.tasks
    where state = 'running'
    group by queue
),
answering as (
    select w.id
    from milepost.waiting_webhooks() as h (id)
    join milepost.webhooks as w on w.id = h.id
    where w.disabled_at is null and w.deleted_at is null and w.failing_since is null
)
select 'depth' as what, queue, priority, own, number, extract(epoch from now() - oldest)::float8 as seconds
from depths
union all
select 'front', queue, priority, own, null, extract(epoch from now() - queued_at)::float8
from fronts
union all
select 'running', queue, null, null, number, null
from busy
union all
select 'lease', null, null, null, null, extract(epoch from now() - min(lease_until))::float8
from busy
union all
select 'workers', q.name, null, null, count(*)::float8, null
from milepost.workers as w
cross join unnest(w.queues) as q (name)
where w.seen_at > now() - $3 * interval '1 second'
group by q.name
union all
select 'due', null, null, null, null, extract(epoch from now() - min(due_at))::float8
from milepost.tasks
where state = 'scheduled'
union all
select 'outbox', null, null, null, count(*)::float8, extract(epoch from now() - min(created_at))::float8
from (select created_at from milepost.outbox limit $2) as o
union all
select 'deliveries', null, null, null, coalesce(sum(o.number), 0), extract(epoch from now() - min(o.due_at))::float8
from answering as a
cross join lateral (
    select count(*)::float8 as number, min(d.due_at) as due_at
    from (
        select e.due_at
        from milepost.deliveries as e
        where e.webhook_id = a.id and e.state in ('pending', 'sending')
        order by e.due_at
        limit $2
    ) as d
) as o
union all
select 'failing', null, null, null, count(*)::float8, null
from milepost.webhooks
where failing_since is not null and disabled_at is null and deleted_at is null
