-- cancel: queued | scheduled | waiting -> cancelled, by the api; new epoch. A running task is asked to stop.
with found as (
    select id, state from milepost.tasks where tenant = $1 and id = $2 for no key update
),
moved as (
    update milepost.tasks as t
    set state = 'cancelled', epoch = t.epoch + 1, seq = 0, finished_at = now(), cancel_requested_at = now()
    from found
    where t.id = found.id and found.state in ('queued', 'scheduled', 'waiting')
    returning t.*
),
asked as (
    update milepost.tasks as t
    set cancel_requested_at = coalesce(t.cancel_requested_at, now())
    from found
    where t.id = found.id and found.state = 'running'
    returning t.*
),
published as (
    insert into milepost.outbox (task_id, epoch) select id, epoch from moved
)
select *, true as moved from moved
union all
select *, false from asked
union all
select t.*, false from milepost.tasks as t join found using (id)
where found.state in ('succeeded', 'failed', 'cancelled')
