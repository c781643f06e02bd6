select exists (
    select from milepost.attempts as a
    join milepost.tasks as t on t.id = a.task_id
    where t.tenant = $1 and a.task_id = $2 and a.ended
)
