-- How many tasks wait of each tenant, and bytes of their payloads; of each as many as $2 are looked at, null: all.
-- Only tasks count that were submitted while the tenant had a quota of what waits.
select t.name as tenant, c.tasks, c.bytes
from unnest($1::text[], $2::int[]) as t (name, most),
lateral (
    select count(*) as tasks, coalesce(sum(w.counted_bytes), 0)::bigint as bytes
    from (
        select k.counted_bytes
        from milepost.tasks as k
        where k.tenant = t.name and k.counted_bytes is not null and k.state in ('queued', 'scheduled')
        limit t.most
    ) as w
) as c
