-- Who has tasks waiting in some queues: groups of one tenant, priority, type and key, each with the age of its oldest.
-- Read by jumps from group to group, so that 100,000 tasks of one cost no more than one. $1, $2: queues, each with the
-- tenant behind which to begin (null: with the first); at most $3 tenants of a queue. $4: the types somebody asks for;
-- of another all keys are passed over by one jump. At most $5 groups of a tenant and priority, fewer where there are so
-- many tenants that it would be more than $11 of all; the next ones behind those named in $6 to $10.
with recursive tenants as (
    select q.queue, t.tenant, t.place
    from unnest($1::text[], $2::text[]) as q (queue, behind)
    cross join lateral milepost.waiting_tenants(q.queue, q.behind, $3) as t
),
bound as (
    select greatest(2, least($5::int, $11::int / (3 * greatest(1, count(*)::int)))) as groups from tenants
),
groups as (
    select w.queue, w.tenant, w.place, p.priority, coalesce(c.type, '') as type, coalesce(c.key, '') as key,
        null::timestamptz as queued_at, c.type is not null as known, 0 as number, b.groups as most
    from tenants as w
    cross join bound as b
    cross join unnest(array[0, 1, 2]::smallint[]) as p (priority)
    left join unnest($6::text[], $7::text[], $8::smallint[], $9::text[], $10::text[])
        as c (queue, tenant, priority, type, key)
        on c.queue = w.queue and c.tenant = w.tenant and c.priority = p.priority
    union all
    select g.queue, g.tenant, g.place, g.priority, next.type, next.key, next.queued_at, next.type = any($4::text[]),
        g.number + 1, g.most
    from groups as g
    cross join lateral milepost.group_behind(g.queue, g.tenant, g.priority, g.type, g.key, g.known) as next
    where g.number < g.most
)
select queue, tenant, priority, type, key, extract(epoch from now() - queued_at)::float8 as age, known, place, number = most as last
from groups
where number > 0
