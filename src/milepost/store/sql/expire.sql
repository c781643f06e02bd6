-- expire: scheduled | queued -> failed, by the due pass; new epoch
with late as (
    select id
    from milepost.tasks
    where state in ('queued', 'scheduled') and expires_at is not null and expires_at <= now()
    order by expires_at
    limit $1
    for no key update skip locked
),
moved as (
    update milepost.tasks as t
    set state = 'failed', epoch = t.epoch + 1, seq = 0, finished_at = now(),
        error = json_build_object(
            'type', 'Expired', 'message', 'The task did not start before expires_in was over.', 'retryable', false
        )
    from late
    where t.id = late.id
    returning t.*
),
published as (
    insert into milepost.outbox (task_id, epoch) select id, epoch from moved
)
select * from moved
