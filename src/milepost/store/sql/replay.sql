-- replay: failed | cancelled -> queued | scheduled, by the api; new epoch
-- Attempts start again, and the times a task may wait and take. How it had ended is kept in `attempts`, where
-- its completion is read from if it is not published yet. With a pace ($4, seconds between two tasks) they become due
-- one after the other, behind those that the same replay ($5) scheduled before; 0 queues all at once. $6: they count for
-- the tenant's quota of what waits, also if there was none when they were submitted.
with asked as (
    select t.id, t.epoch, t.state, t.attempt, t.error, t.worker, t.started_at, t.finished_at
    from unnest($2::uuid[]) as w (id)
    join milepost.tasks as t on t.id = w.id
    where t.tenant || '' = $1 and t.state || '' = any($3::text[])
    order by t.id
    for no key update of t
),
numbered as (
    select id, state, row_number() over (order by id) - 1 as place, count(*) over () as places from asked
),
pace as (
    insert into milepost.replays as r (tenant, id, next_at)
    select $1, $5, now() + count(*) * $4::float8 * interval '1 second' from asked where $4 > 0 having count(*) > 0
    on conflict (tenant, id) do update
    set next_at = greatest(now(), r.next_at) + (excluded.next_at - now())
    returning r.next_at
),
planned as (
    select n.id, n.state, p.next_at - (n.places - n.place) * $4::float8 * interval '1 second' as at
    from numbered as n left join pace as p on true
),
ends as (
    insert into milepost.attempts (task_id, epoch, attempt, outcome, error, worker, started_at, finished_at, ended)
    select id, epoch, attempt, state, error, worker, started_at, finished_at, true from asked
),
kept as (
    -- What it had below when it was cancelled may go on now.
    delete from milepost.cancellations where task_id in (select id from asked)
)
update milepost.tasks as t
set state = case when p.at > now() then 'scheduled' else 'queued' end,
    epoch = t.epoch + 1, seq = 0, attempt = 0, result = null, error = null, progress = null,
    worker = null, lease_until = null, started_at = null, finished_at = null, cancel_requested_at = null,
    due_at = p.at, queued_at = case when p.at > now() then null else now() end,
    replayed_at = coalesce(p.at, now()),
    counted_bytes = case
        when $6::bool then coalesce(t.counted_bytes, octet_length(t.payload::text)) else t.counted_bytes
    end,
    expires_at = coalesce(p.at, now()) + (t.expires_at - coalesce(t.replayed_at, t.created_at)),
    deadline_at = coalesce(p.at, now()) + (t.deadline_at - coalesce(t.replayed_at, t.created_at))
from planned as p
where t.id = p.id
-- Without the payload, which may be large and which nobody reads here.
returning t.id, t.tenant, t.type, t.queue, t.priority, t.state, t.epoch, t.seq, t.attempt, t.max_attempts, t.labels,
    t.key, t.parent_id, t.root_id, t.progress, t.result, t.error, t.created_at, t.due_at, t.started_at,
    t.finished_at, t.traceparent, p.state as moved_from
