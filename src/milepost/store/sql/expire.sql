-- expire: scheduled | queued -> failed, by the due pass; new epoch
with late as (
    select id, state
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
            'type', case when t.deadline_at <= now() then 'TotalTimeout' else 'Expired' end,
            'message', concat(
                case when t.attempt = 0 then 'The task' else format('Attempt %s', t.attempt + 1) end,
                ' did not start before ',
                case when t.deadline_at <= now() then 'total_timeout' else 'expires_in' end,
                ' was over.',
                ' The attempt before failed with ' || (t.error ->> 'type') || ': ' || (t.error ->> 'message')
            ),
            'retryable', false
        )
    from late
    where t.id = late.id
    returning t.*, late.state as moved_from
),
published as (
    insert into milepost.outbox (task_id, epoch) select id, epoch from moved
)
select * from moved
