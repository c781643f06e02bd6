-- Records nobody could read; one that is there already is left as it is. A tenant is known if the task that the record
-- names is that tenant's. The newest $13 stay.
with added as (
    insert into milepost.dead_records (
        id, tenant, topic, partition, "offset", error, fingerprint, key, value, size, cut, headers, put_aside_at
    )
    select n.id, (select t.tenant from milepost.tasks as t where t.id = n.task and t.tenant = n.tenant),
        n.topic, n.partition, n."offset", n.error, n.fingerprint, n.key, n.value, n.size, n.cut, n.headers,
        n.put_aside_at
    from unnest(
        $1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::int[], $6::bigint[], $7::text[], $8::text[], $9::bytea[],
        $10::bytea[], $11::int[], $12::json[], $14::timestamptz[], $15::boolean[]
    ) as n (
        id, tenant, task, topic, partition, "offset", error, fingerprint, key, value, size, headers, put_aside_at, cut
    )
    on conflict (id) do nothing
    returning id
),
old as (
    delete from milepost.dead_records
    where id <= (select r.id from milepost.dead_records as r order by r.id desc offset $13 limit 1)
    returning id
)
select (select count(*) from added) as added, (select count(*) from old) as dropped
