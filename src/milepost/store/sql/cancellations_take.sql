-- Cancelled tasks whose descendants are to be looked at (again); nobody else gets them for $2 seconds.
with due as (
    select task_id
    from milepost.cancellations
    where taken_until < now()
    order by taken_until
    limit $1
    for update skip locked
)
update milepost.cancellations as c
set taken_until = now() + $2 * interval '1 second'
from due
where c.task_id = due.task_id
returning c.task_id, c.tenant
