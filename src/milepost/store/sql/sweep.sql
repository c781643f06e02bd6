-- sweep: running -> queued | failed | cancelled, by a sweeper; new epoch
-- Taken back is what has no lease any more, and what a worker runs that is dead ($2, last heard of at $3). Its lock is
-- asked for once more, and kept until this is committed: a sweeper may have stood still since it looked, and a worker
-- that comes back trusts what it renews after it holds its lock. A task keeps its place in the queue. A reason the
-- worker itself left (abandon) goes into the history, and `Released` is no fault of the task.
with dead as materialized (
    select w.id
    from (
        select id, ('x' || right(replace(id::text, '-', ''), 16))::bit(64)::bigint as key
        from milepost.workers
        where presence and (id, seen_at) in (select * from unnest($2::uuid[], $3::timestamptz[]))
        offset 0
    ) as w
    where pg_try_advisory_xact_lock_shared(w.key)
),
lost as (
    select id, epoch, attempt, worker, started_at, error as reason
    from milepost.tasks
    where state = 'running' and (lease_until < now() or worker in (select id from dead))
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
        error = case
            when lost.reason ->> 'type' = 'Released' then null
            when lost.reason is not null then lost.reason
            when t.lease_until < now() then json_build_object(
                'type', 'LeaseLost',
                'message', 'The worker stopped renewing its lease: it died, was cut off or stood still.',
                'retryable', true
            )
            else json_build_object(
                'type', 'LeaseLost',
                'message', 'The worker ended without a word (killed, or out of memory): its presence was gone.',
                'retryable', true
            )
        end,
        finished_at = case when t.cancel_requested_at is not null or t.attempt >= t.max_attempts then now() end
    from lost
    where t.id = lost.id
    returning t.*
),
history as (
    insert into milepost.attempts (task_id, epoch, attempt, outcome, error, worker, started_at)
    select l.id, l.epoch, l.attempt,
        case when l.reason ->> 'type' = 'Released' then 'released' else 'lease_lost' end,
        coalesce(l.reason, m.error), l.worker, l.started_at
    from lost as l join moved as m using (id)
),
published as (
    insert into milepost.outbox (task_id, epoch) select id, epoch from moved where state in ('failed', 'cancelled')
)
-- `told`: the worker itself had said why.
select m.*, l.reason is not null as told from moved as m join lost as l using (id)
