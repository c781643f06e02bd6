-- finish: running -> succeeded | failed | cancelled, by the worker of the epoch
with done as (
    update milepost.tasks as t
    set state = d.state, seq = d.seq, result = d.result, error = d.error,
        progress = coalesce(d.progress, t.progress), finished_at = now(), lease_until = null
    from unnest($1::uuid[], $2::int[], $3::int[], $4::text[], $5::json[], $6::json[], $7::json[])
        as d (id, epoch, seq, state, result, error, progress)
    where t.id = d.id and t.epoch = d.epoch and t.state || '' = 'running'
    returning t.id, t.epoch, t.state, t.finished_at
),
published as (
    insert into milepost.outbox (task_id, epoch) select id, epoch from done
)
select * from done
