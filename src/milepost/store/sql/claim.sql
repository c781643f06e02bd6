-- claim: queued -> running, by a worker; new epoch
-- `offset 0` keeps the planner from moving the conditions into the inner select: knowing of the state there, it would
-- read the index of all queued tasks, which is short when the plan is made and long when it matters.
with ready as (
    select t.id
    from unnest($1::uuid[], $2::int[]) as w (id, epoch)
    cross join lateral (
        select c.id, c.epoch, c.state, c.expires_at
        from milepost.tasks as c
        where c.id = w.id
        for no key update skip locked
        offset 0
    ) as t
    where t.epoch = w.epoch and t.state = 'queued' and (t.expires_at is null or t.expires_at > now())
)
update milepost.tasks as t
set state = 'running', epoch = t.epoch + 1, seq = 0, attempt = t.attempt + 1, worker = $3, error = null,
    progress = null, started_at = now(), lease_until = now() + $4 * interval '1 second'
from ready
where t.id = ready.id
returning t.id, t.tenant, t.type, t.queue, t.priority, t.epoch, t.attempt, t.max_attempts, t.timeout_s, t.payload,
    t.labels, t.key, t.root_id, t.traceparent, t.started_at, t.created_at
