-- due: scheduled -> queued, by the due pass; new epoch
with due as (
    select id
    from milepost.tasks
    where state = 'scheduled' and due_at <= now() and (expires_at is null or expires_at > now())
    order by due_at
    limit $1
    for no key update skip locked
)
update milepost.tasks as t
set state = 'queued', epoch = t.epoch + 1, seq = 0, queued_at = now()
from due
where t.id = due.id
returning t.*
