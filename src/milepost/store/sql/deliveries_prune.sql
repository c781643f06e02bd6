-- Forget deliveries of long ago ($1 seconds) and those of webhooks that were deleted, $2 at most; ids are in the order of
-- time. A webhook that was deleted goes after its deliveries.
with boundary as (
    select (lpad(to_hex((extract(epoch from now() - $1 * interval '1 second') * 1000)::bigint), 12, '0')
        || '00000000000000000000')::uuid as id
),
old as (
    select o.id
    from (
        (select d.id from milepost.deliveries as d where d.id < (select b.id from boundary as b) order by d.id limit $2)
        union
        (
            select d.id
            from milepost.webhooks as w
            cross join lateral (
                select e.id from milepost.deliveries as e where e.webhook_id = w.id order by e.id limit $2
            ) as d
            where w.deleted_at is not null
            limit $2
        )
    ) as o
    limit $2
),
forgotten as (
    delete from milepost.deliveries where id in (select id from old) returning id
),
attempts as (
    delete from milepost.delivery_attempts where delivery_id in (select id from old)
),
hooks as (
    delete from milepost.webhooks as w
    where w.deleted_at < now() - interval '1 minute'
        and not exists (select from milepost.deliveries as d where d.webhook_id = w.id)
)
select count(*)::int from forgotten
