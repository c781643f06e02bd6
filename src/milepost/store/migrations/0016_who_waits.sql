-- Who has tasks waiting, read by jumps: each step is one look-up in an index, however many tasks stand between. These
-- functions are planned as a part of the statement that asks, so that it pays for no more than it reads.

-- Queues in which anybody's tasks wait.
create function milepost.waiting_queues() returns setof text language sql stable parallel safe as $$
    with recursive walk as (
        select null::text as queue
        union all
        select next.queue
        from walk as w
        cross join lateral (
            select t.queue
            from milepost.tasks as t
            where t.state = 'queued' and t.queue > coalesce(w.queue, '')
            order by t.queue
            limit 1
        ) as next
    )
    select w.queue from walk as w where w.queue is not null
$$;

-- Tenants whose tasks wait in a queue, by name: `most` of them behind one (null: from the first), numbered from 1.
create function milepost.waiting_tenants(in_queue text, behind text, most int) returns table (tenant text, place int)
language sql stable parallel safe as $$
    with recursive walk as (
        select behind as tenant, 0 as place
        union all
        select next.tenant, w.place + 1
        from walk as w
        cross join lateral (
            select t.tenant
            from milepost.tasks as t
            where t.state = 'queued' and t.queue = in_queue and t.tenant > coalesce(w.tenant, '')
            order by t.tenant
            limit 1
        ) as next
        where w.place < most
    )
    select w.tenant, w.place from walk as w where w.place > 0
$$;

-- The group behind one, of the same queue, tenant and priority, by type and key ('', '': the first), and since when its
-- oldest task waits. Unless `by_key`, all other keys of the type are passed over.
create function milepost.group_behind(
    in_queue text, of_tenant text, at_priority smallint, behind_type text, behind_key text, by_key boolean
) returns table (type text, key text, queued_at timestamptz) language sql stable parallel safe as $$
    (
        select t.type, coalesce(t.key, ''), t.queued_at
        from milepost.tasks as t
        where by_key and t.state = 'queued' and t.queue = in_queue and t.tenant = of_tenant
            and t.priority = at_priority and t.type = behind_type and coalesce(t.key, '') > behind_key
        order by coalesce(t.key, ''), t.queued_at
        limit 1
    )
    union all
    (
        select t.type, coalesce(t.key, ''), t.queued_at
        from milepost.tasks as t
        where t.state = 'queued' and t.queue = in_queue and t.tenant = of_tenant and t.priority = at_priority
            and t.type > behind_type
        order by t.type, coalesce(t.key, ''), t.queued_at
        limit 1
    )
    limit 1
$$;

-- Webhooks with deliveries that are open.
create function milepost.waiting_webhooks() returns setof uuid language sql stable parallel safe as $$
    with recursive walk as (
        select null::uuid as id
        union all
        select next.id
        from walk as w
        cross join lateral (
            select d.webhook_id as id
            from milepost.deliveries as d
            where d.state in ('pending', 'sending')
                and d.webhook_id > coalesce(w.id, '00000000-0000-0000-0000-000000000000')
            order by d.webhook_id
            limit 1
        ) as next
    )
    select w.id from walk as w where w.id is not null
$$;

-- How many slots the workers of a pool, which serves these queues, should have: those in use, and more of them the
-- longer the backlog would take to go at the pace of now (none if that is far below `within_s` seconds, the whole
-- backlog if nothing ends). Never more than there are tasks, than `most`, or than can run: what is paused, held back by
-- a limit, not due yet, or of a type that no worker of the queue knows, starts nobody. KEDA asks it, or whoever starts
-- workers; docs/decisions/0031 says why it counts in this way.
create function milepost.wanted_slots(queues text[], most int, within_s float8) returns float8
-- Compiling it would take longer than running it.
language sql stable parallel safe set jit = off as $$
with recursive live as (
    select w.queues, w.types, w.rates
    from milepost.workers as w
    where not w.draining and w.seen_at > now() - interval '15 seconds'
),
running as materialized (
    select tenant, queue, type, coalesce(key, '') as key, count(*)::int as running
    from milepost.tasks
    where state = 'running'
    group by 1, 2, 3, 4
),
groups as (
    select q.queue, t.tenant, p.priority, '' as type, '' as key, 0 as number, exists (
        select from milepost.limits as l
        where l.owner = t.tenant and l.scope = 'key' and (l.concurrency, l.rate_count) is distinct from (null, null)
    ) as by_key
    from unnest(wanted_slots.queues) as q (queue)
    cross join lateral milepost.waiting_tenants(q.queue, null, 1000) as t
    cross join unnest(array[0, 1, 2]::smallint[]) as p (priority)
    where not exists (
        select from milepost.limits as l
        where l.owner in (t.tenant, '*') and l.scope = 'queue' and l.name = q.queue and l.paused_at is not null
    )
    union all
    select g.queue, g.tenant, g.priority, next.type, next.key, g.number + 1, g.by_key
    from groups as g
    cross join lateral milepost.group_behind(g.queue, g.tenant, g.priority, g.type, g.key, g.by_key) as next
    where g.number < 1000
),
-- Of up to 50 groups all that could matter is counted, of more a part of each: there the sum is enough.
waiting as materialized (
    select row_number() over (order by g.priority, g.number) as id, g.queue, g.tenant, g.type,
        case when g.by_key then g.key else '' end as key, counted.slots
    from (
        select first.*, least(wanted_slots.most, greatest(50 * wanted_slots.most / count(*) over (), 1)) as share
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
                limit g.share
            )
            union all
            (
                select
                from milepost.tasks as t
                where not g.by_key and t.state = 'queued' and t.queue = g.queue and t.tenant = g.tenant
                    and t.priority = g.priority and t.type = g.type
                order by coalesce(t.key, ''), t.queued_at
                limit g.share
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
        coalesce((select sum(running) from running where queue = any(wanted_slots.queues)), 0)::float8 as used,
        (
            select sum(rate.value::float8)
            from live as l
            cross join lateral json_each(l.rates) as line
            cross join lateral json_each_text(line.value) as rate
            where line.key = any(wanted_slots.queues)
        ) as ends
)
select least(wanted_slots.most, used + backlog, greatest(1, coalesce(
    ceil(used * (1 + backlog / nullif(ends * within_s, 0))), used + backlog
)))::float8
from pool
$$;
