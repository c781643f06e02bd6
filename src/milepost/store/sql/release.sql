-- release: running -> queued, by the worker of the epoch, which gives the attempt back
-- finish: running -> cancelled, when somebody asked for that meanwhile
-- The task keeps its place in the queue (queued_at), so that it can be stolen at once should its hint be lost.
with moved as (
    update milepost.tasks as t
    set state = case when t.cancel_requested_at is null then 'queued' else 'cancelled' end,
        attempt = case when t.cancel_requested_at is null then greatest(t.attempt - 1, 0) else t.attempt end,
        seq = r.seq, lease_until = null,
        finished_at = case when t.cancel_requested_at is null then null else now() end
    from unnest($1::uuid[], $2::int[], $3::int[]) as r (id, epoch, seq)
    where t.id = r.id and t.epoch = r.epoch and t.state || '' = 'running'
    returning t.id, t.epoch, t.attempt, t.state, t.worker, t.started_at, t.finished_at
),
history as (
    insert into milepost.attempts (task_id, epoch, attempt, outcome, worker, started_at)
    select id, epoch, attempt, 'released', worker, started_at from moved where state = 'queued'
),
published as (
    insert into milepost.outbox (task_id, epoch) select id, epoch from moved where state = 'cancelled'
)
select id, epoch, attempt, state, finished_at from moved
