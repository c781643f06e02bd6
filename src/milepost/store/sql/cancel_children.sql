-- cancel: queued | scheduled | waiting -> cancelled, by the api; new epoch. Running ones are asked to stop.
-- The next children of some tasks, $4 at most, parent by parent, each in the order of ids after the one named with its
-- parent. A child whose row somebody holds is not waited for: many rows are locked here, in another order than theirs.
with page as (
    select p.id as parent, c.id
    from unnest($2::uuid[], $3::uuid[]) with ordinality as p (id, after, place)
    cross join lateral (
        select t.id
        from milepost.tasks as t
        where t.parent_id = p.id and t.id > p.after and t.tenant || '' = $1
        order by t.id
        limit $4
    ) as c
    order by p.place, c.id
    limit $4
),
held as (
    select t.id, t.state
    from page
    join milepost.tasks as t on t.id = page.id
    where t.state || '' not in ('succeeded', 'failed', 'cancelled')
    order by t.id
    for no key update of t skip locked
),
moved as (
    update milepost.tasks as t
    set state = 'cancelled', epoch = t.epoch + 1, seq = 0, finished_at = now(), cancel_requested_at = now()
    from held
    where t.id = held.id and held.state in ('queued', 'scheduled', 'waiting')
    returning t.id, t.tenant, t.type, t.queue, t.priority, t.state, t.epoch, t.seq, t.attempt, t.max_attempts,
        t.labels, t.key, t.parent_id, t.root_id, t.progress, t.result, t.error, t.created_at, t.due_at,
        t.started_at, t.finished_at, t.traceparent, held.state as moved_from
),
asked as (
    update milepost.tasks as t
    set cancel_requested_at = coalesce(t.cancel_requested_at, now())
    from held
    where t.id = held.id and held.state = 'running'
    returning t.id, t.traceparent
),
published as (
    insert into milepost.outbox (task_id, epoch) select id, epoch from moved
)
select page.parent, page.id as child, m.*, a.traceparent as asked_traceparent,
    case
        when m.id is not null then 'ended'
        when a.id is not null then 'asked'
        when was.state in ('succeeded', 'failed', 'cancelled') then 'over'
        else 'locked'
    end as found
from page
join milepost.tasks as was on was.id = page.id
left join moved as m on m.id = page.id
left join asked as a on a.id = page.id
