-- retry: running -> scheduled, by the worker of the epoch
-- finish: running -> cancelled, when somebody asked for that meanwhile
with moved as (
    update milepost.tasks as t
    set state = case when t.cancel_requested_at is null then 'scheduled' else 'cancelled' end,
        seq = r.seq, error = r.error, progress = coalesce(r.progress, t.progress), lease_until = null,
        due_at = now() + r.delay * interval '1 second',
        finished_at = case when t.cancel_requested_at is null then null else now() end
    from unnest($1::uuid[], $2::int[], $3::int[], $4::float8[], $5::json[], $6::json[])
        as r (id, epoch, seq, delay, error, progress)
    where t.id = r.id and t.epoch = r.epoch and t.state || '' = 'running'
    returning t.id, t.epoch, t.attempt, t.state, t.error, t.worker, t.started_at, t.due_at, t.finished_at
),
history as (
    insert into milepost.attempts (task_id, epoch, attempt, outcome, error, worker, started_at)
    select id, epoch, attempt, 'failed', error, worker, started_at from moved where state = 'scheduled'
),
published as (
    insert into milepost.outbox (task_id, epoch) select id, epoch from moved where state = 'cancelled'
)
select id, epoch, state, due_at, finished_at from moved
