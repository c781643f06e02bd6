-- Leftovers: terminal states whose completion nobody got acknowledged in time. Of a task that was replayed meanwhile
-- history says how that epoch ended; `past` tells.
with late as (
    select task_id, epoch
    from milepost.outbox
    where coalesce(taken_until, created_at + $1 * interval '1 second') < now()
    limit $2
    for update skip locked
),
taken as (
    update milepost.outbox as o
    set taken_until = now() + $3 * interval '1 second'
    from late
    where o.task_id = late.task_id and o.epoch = late.epoch
    returning o.task_id, o.epoch
)
select t.id, t.tenant, t.type, t.queue, t.priority, t.max_attempts, t.labels, t.key, t.parent_id, t.root_id,
    t.created_at, t.due_at, t.traceparent, e.epoch is not null as past, taken.epoch,
    case when e.epoch is null then t.seq else 0 end as seq,
    coalesce(e.outcome, t.state) as state,
    coalesce(e.attempt, t.attempt) as attempt,
    case when e.epoch is null then t.progress end as progress,
    case when e.epoch is null then t.result end as result,
    case when e.epoch is null then t.error else e.error end as error,
    case when e.epoch is null then t.started_at else e.started_at end as started_at,
    case when e.epoch is null then t.finished_at else e.finished_at end as finished_at
from taken
join milepost.tasks as t on t.id = taken.task_id
left join milepost.attempts as e
    on e.task_id = taken.task_id and e.epoch = taken.epoch and e.ended and t.epoch <> taken.epoch
where t.epoch = taken.epoch or e.epoch is not null
