-- cancel: queued | scheduled | waiting -> cancelled, by the api; new epoch. A running task is asked to stop.
-- What has children, or runs and may yet have some, is noted: whoever reads `cancellations` sees to its descendants.
-- All of the row comes from `found`, which waits for whoever moves the task and then reads what became of it: the table
-- itself would be read as it was when the statement began.
with found as (
    select t.* from milepost.tasks as t where tenant = $1 and id = $2 for no key update
),
moved as (
    update milepost.tasks as t
    set state = 'cancelled', epoch = t.epoch + 1, seq = 0, finished_at = now(), cancel_requested_at = now()
    from found
    where t.id = found.id and found.state in ('queued', 'scheduled', 'waiting')
    returning t.*, found.state as moved_from
),
asked as (
    update milepost.tasks as t
    set cancel_requested_at = coalesce(t.cancel_requested_at, now())
    from found
    where t.id = found.id and found.state = 'running'
    returning t.*, found.state as moved_from
),
published as (
    insert into milepost.outbox (task_id, epoch) select id, epoch from moved
),
noted as (
    insert into milepost.cancellations as c (task_id, tenant, taken_until)
    select id, $1, now() + interval '10 seconds'
    from found
    where state = 'running'
        or (
            state not in ('succeeded', 'failed')
            and exists (select from milepost.tasks as child where child.parent_id = found.id)
        )
    on conflict (task_id) do update set taken_until = excluded.taken_until
    returning task_id
)
select *, true as moved, exists (select from noted) as tree from moved
union all
select *, false, exists (select from noted) from asked
union all
select *, state, false, exists (select from noted) from found where state in ('succeeded', 'failed', 'cancelled')
