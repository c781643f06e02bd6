-- How many slots the workers of a pool should have: those in use, and more of them the longer the backlog would take to
-- go at the pace of now (none if that is far below {within} seconds, the whole backlog if nothing ends). Never more
-- than there are tasks, than {most}, or than can run: what is paused, held back by a limit, not due yet, or of a type
-- that no worker of the queue knows, starts nobody. Read by jumps from group to group like waiting.sql of the store, so
-- that a million tasks cost no more than a few. Run by KEDA; docs/decisions/0031 says why it asks in this way.
with recursive queues as (
    select unnest({queues}::text[]) as queue
),
live as (
    select queues, types, rates from milepost.workers where not draining and seen_at > now() - interval '15 seconds'
),
running as materialized (
    select tenant, queue, type, coalesce(key, '') as key, count(*)::int as running
    from milepost.tasks
    where state = 'running'
    group by 1, 2, 3, 4
),
tenants as (
    select queue, null::text as tenant, 0 as place
    from queues
    union all
    select w.queue, next.tenant, w.place + 1
    from tenants as w
    cross join lateral (
        select t.tenant
        from milepost.tasks as t
        where t.state = 'queued' and t.queue = w.queue and t.tenant > coalesce(w.tenant, '')
        order by t.tenant
        limit 1
    ) as next
    where w.place < 1000
),
groups as (
    select w.queue, w.tenant, p.priority, '' as type, '' as key, 0 as number, exists (
        select from milepost.limits as l
        where l.owner = w.tenant and l.scope = 'key' and (l.concurrency, l.rate_count) is distinct from (null, null)
    ) as by_key
    from tenants as w
    cross join unnest(array[0, 1, 2]::smallint[]) as p (priority)
    where w.place > 0 and not exists (
        select from milepost.limits as l
        where l.owner in (w.tenant, '*') and l.scope = 'queue' and l.name = w.queue and l.paused_at is not null
    )
    union all
    select g.queue, g.tenant, g.priority, next.type, next.key, g.number + 1, g.by_key
    from groups as g
    cross join lateral (
        (
            select t.type, coalesce(t.key, '') as key
            from milepost.tasks as t
            where g.by_key and t.state = 'queued' and t.queue = g.queue and t.tenant = g.tenant
                and t.priority = g.priority and t.type = g.type and coalesce(t.key, '') > g.key
            order by coalesce(t.key, ''), t.queued_at
            limit 1
        )
        union all
        (
            select t.type, coalesce(t.key, '') as key
            from milepost.tasks as t
            where t.state = 'queued' and t.queue = g.queue and t.tenant = g.tenant and t.priority = g.priority
                and t.type > g.type
            order by t.type, coalesce(t.key, ''), t.queued_at
            limit 1
        )
        limit 1
    ) as next
    where g.number < 1000
),
-- Of up to 50 groups all that could matter is counted, of more a part of each: there the sum is enough.
waiting as materialized (
    select row_number() over (order by g.priority, g.number) as id, g.queue, g.tenant, g.type,
        case when g.by_key then g.key else '' end as key, counted.slots
    from (
        select *, least({most}, greatest(50 * {most} / count(*) over (), 1)) as most
        from (select * from groups where number > 0 limit 2000) as first
    ) as g
    cross join lateral (
        select count(*)::int as slots
        from (
            (
                select
                from milepost.tasks as t
                where g.by_key and t.state = 'queued' and t.queue = g.queue and t.tenant = g.tenant
                    and t.priority = g.priority and t.type = g.type and coalesce(t.key, '') = g.key
                order by t.queued_at
                limit g.most
            )
            union all
            (
                select
                from milepost.tasks as t
                where not g.by_key and t.state = 'queued' and t.queue = g.queue and t.tenant = g.tenant
                    and t.priority = g.priority and t.type = g.type
                order by coalesce(t.key, ''), t.queued_at
                limit g.most
            )
        ) as oldest
    ) as counted
    where exists (select from live as l where g.queue = any(l.queues) and g.type = any(l.types))
        or not exists (select from live as l where g.queue = any(l.queues))
),
-- Limits these groups stand under, each by what it counts, and the places it has left.
bounds as (
    select distinct on (c.owner, c.scope, c.name) c.owner, c.scope, c.name, l.concurrency, l.rate_count, l.rate_period_s
    from waiting as w
    cross join lateral (
        values (w.tenant, 'key', w.key), (w.tenant, 'type', w.type), ('*', 'type', w.type),
            (w.tenant, 'queue', w.queue), ('*', 'queue', w.queue), ('*', 'tenant', w.tenant)
    ) as c (owner, scope, name)
    join milepost.limits as l
        on l.owner = c.owner and l.scope = c.scope
        and (l.name = c.name or (l.name = '' and c.scope in ('key', 'tenant')))
    where c.name <> ''
    order by c.owner, c.scope, c.name, l.name desc
),
rooms as (
    select b.owner, b.scope, b.name, least(
        b.concurrency - coalesce(taken.places, 0),
        floor((b.rate_period_s - greatest(extract(epoch from p.next_at - now()), 0)) * b.rate_count / b.rate_period_s
            + 1e-6)
    ) as room
    from bounds as b
    left join milepost.paces as p using (owner, scope, name)
    cross join lateral (
        select sum(r.running) as places
        from running as r
        where (b.owner in ('*', r.tenant)) and b.name = case b.scope
            when 'queue' then r.queue when 'type' then r.type when 'key' then r.key else r.tenant
        end
    ) as taken
    where (b.concurrency, b.rate_count) is distinct from (null, null)
),
-- What fits, one kind of limit after the other: of the groups that share one, the first get its places.
by_key as (
    select w.*, greatest(0, least(w.slots, r.room - (sum(w.slots) over line - w.slots))) as fit
    from waiting as w
    left join rooms as r on r.scope = 'key' and r.owner = w.tenant and r.name = w.key
    window line as (partition by w.tenant, w.key order by w.id)
),
by_own_type as (
    select w.id, w.queue, w.tenant, w.type, greatest(0, least(w.fit, r.room - (sum(w.fit) over line - w.fit))) as fit
    from by_key as w
    left join rooms as r on r.scope = 'type' and r.owner = w.tenant and r.name = w.type
    window line as (partition by w.tenant, w.type order by w.id)
),
by_type as (
    select w.id, w.queue, w.tenant, greatest(0, least(w.fit, r.room - (sum(w.fit) over line - w.fit))) as fit
    from by_own_type as w
    left join rooms as r on r.scope = 'type' and r.owner = '*' and r.name = w.type
    window line as (partition by w.type order by w.id)
),
by_own_queue as (
    select w.id, w.queue, w.tenant, greatest(0, least(w.fit, r.room - (sum(w.fit) over line - w.fit))) as fit
    from by_type as w
    left join rooms as r on r.scope = 'queue' and r.owner = w.tenant and r.name = w.queue
    window line as (partition by w.tenant, w.queue order by w.id)
),
by_queue as (
    select w.id, w.tenant, greatest(0, least(w.fit, r.room - (sum(w.fit) over line - w.fit))) as fit
    from by_own_queue as w
    left join rooms as r on r.scope = 'queue' and r.owner = '*' and r.name = w.queue
    window line as (partition by w.queue order by w.id)
),
by_tenant as (
    select greatest(0, least(w.fit, r.room - (sum(w.fit) over line - w.fit))) as fit
    from by_queue as w
    left join rooms as r on r.scope = 'tenant' and r.owner = '*' and r.name = w.tenant
    window line as (partition by w.tenant order by w.id)
),
pool as (
    select coalesce((select sum(fit) from by_tenant), 0)::float8 as backlog,
        coalesce((select sum(running) from running where queue in (select queue from queues)), 0)::float8 as used,
        (
            select sum(rate.value::float8)
            from live as l
            cross join lateral json_each(l.rates) as line
            cross join lateral json_each_text(line.value) as rate
            where line.key in (select queue from queues)
        ) as ends
)
select least({most}, used + backlog, greatest(1, coalesce(
    ceil(used * (1 + backlog / nullif(ends * {within}, 0))), used + backlog
)))::float8
from pool
