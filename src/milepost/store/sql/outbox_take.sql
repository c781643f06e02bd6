-- Leftovers: terminal states whose completion nobody got acknowledged in time.
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
select t.* from taken join milepost.tasks as t on t.id = taken.task_id and t.epoch = taken.epoch
