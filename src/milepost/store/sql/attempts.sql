-- Runs of a task, the newest first: history, and the run that is under way or was the last, which stands in the task's
-- own row. How a task ended before it was replayed is a run only if no history tells of that run.
select r.*
from (
    select t.epoch, t.attempt, t.state as outcome, t.error, t.worker, t.started_at, t.finished_at
    from milepost.tasks as t
    where t.tenant = $1 and t.id = $2 and t.started_at is not null
        and t.state in ('running', 'succeeded', 'failed', 'cancelled')
        and not exists (
            select from milepost.attempts as h where h.task_id = t.id and h.started_at = t.started_at
        )
    union all
    select a.epoch, a.attempt, a.outcome, a.error, a.worker, a.started_at, a.finished_at
    from milepost.attempts as a
    join milepost.tasks as t on t.id = a.task_id
    where t.tenant = $1 and a.task_id = $2
        and not (
            a.ended and (
                a.started_at is null
                or exists (
                    select from milepost.attempts as h
                    where h.task_id = a.task_id and h.epoch < a.epoch and h.started_at = a.started_at
                )
            )
        )
) as r
order by r.epoch desc
limit $3
