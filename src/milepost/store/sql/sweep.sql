-- sweep: running -> queued | failed | cancelled, by a sweeper; new epoch
with lost as (
    select id, epoch, attempt, worker, started_at
    from milepost.tasks
    where state = 'running' and lease_until < now()
    order by id
    limit $1
    for no key update skip locked
),
moved as (
    update milepost.tasks as t
    set epoch = t.epoch + 1, seq = 0, lease_until = null,
        state = case
            when t.cancel_requested_at is not null then 'cancelled'
            when t.attempt >= t.max_attempts then 'failed'
            else 'queued'
        end,
        error = json_build_object(
            'type', 'LeaseLost',
            'message', 'The worker stopped renewing its lease: it died, was cut off or stood still.',
            'retryable', true
        ),
        queued_at = now(),
        finished_at = case when t.cancel_requested_at is not null or t.attempt >= t.max_attempts then now() end
    from lost
    where t.id = lost.id
    returning t.*
),
history as (
    insert into milepost.attempts (task_id, epoch, attempt, outcome, error, worker, started_at)
    select l.id, l.epoch, l.attempt, 'lease_lost', m.error, l.worker, l.started_at
    from lost as l join moved as m using (id)
),
published as (
    insert into milepost.outbox (task_id, epoch) select id, epoch from moved where state in ('failed', 'cancelled')
)
select * from moved
