-- Queues as a tenant ($1) sees them: those that live workers serve, and those where it has tasks or limits. At most $3
-- waiting tasks of each are counted, and few more are read than are counted.
with recursive busy as (
    -- Those in which the tenant's tasks run, by jumps.
    select null::text as queue
    union all
    select next.queue
    from busy as b
    cross join lateral (
        select t.queue
        from milepost.tasks as t
        where t.state = 'running' and t.tenant = $1 and t.queue > coalesce(b.queue, '')
        order by t.queue
        limit 1
    ) as next
),
live as (
    select * from milepost.workers where seen_at > now() - $2 * interval '1 second'
),
names as (
    -- Of each line whether one is the tenant's: what only asks whether there are any would be read as a whole, and joined.
    select l.queue
    from milepost.waiting_queues() as l (queue)
    cross join lateral (
        select from milepost.tasks as t where t.state = 'queued' and t.queue = l.queue and t.tenant = $1 limit 1
    ) as one
    union
    select queue from busy where queue is not null
    union
    select unnest(queues) from live
    union
    select name
    from milepost.limits
    where scope = 'queue' and owner in ($1, '*') and (paused_at, concurrency, rate_count) is distinct from (null, null, null)
)
select n.queue, waiting.depth, waiting.oldest_age, running.running, served.workers, served.slots, served.rate
from names as n
cross join lateral (
    select count(*)::int as depth, extract(epoch from now() - min(w.queued_at))::float8 as oldest_age
    from (
        select t.queued_at
        from milepost.tasks as t
        where t.state = 'queued' and t.queue = n.queue and t.tenant = $1
        limit $3
    ) as w
) as waiting
cross join lateral (
    select count(*)::int as running
    from milepost.tasks as t
    where t.state = 'running' and t.tenant = $1 and t.queue = n.queue
) as running
cross join lateral (
    select count(*)::int as workers, coalesce(sum(l.slots), 0)::int as slots,
        coalesce(sum((l.rates -> n.queue ->> $1)::float8), 0) as rate
    from live as l
    where n.queue = any(l.queues)
) as served
order by n.queue
