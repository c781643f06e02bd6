-- claim: queued -> running, by a worker; new epoch
-- The way for tasks whose dispatch record was lost, is late, or sits behind a busy worker. Each queue is read in the
-- order of its index and no further than the limit, however long it is.
with ready as (
    select oldest.id
    from unnest($1::text[]) as q (queue)
    cross join lateral (
        select t.id, t.priority, t.queued_at
        from milepost.tasks as t
        where t.state = 'queued' and t.queue = q.queue and t.type = any($2::text[])
            and t.queued_at < now() - $5 * interval '1 second'
            and (t.expires_at is null or t.expires_at > now())
        order by t.priority, t.queued_at
        limit $6
        for no key update skip locked
    ) as oldest
    order by oldest.priority, oldest.queued_at
    limit $6
)
update milepost.tasks as t
set state = 'running', epoch = t.epoch + 1, seq = 0, attempt = t.attempt + 1, worker = $3, error = null,
    progress = null, started_at = now(), lease_until = now() + $4 * interval '1 second'
from ready
where t.id = ready.id
returning t.id, t.tenant, t.type, t.queue, t.priority, t.epoch, t.attempt, t.max_attempts, t.timeout_s, t.payload,
    t.labels, t.key, t.parent_id, t.root_id, t.traceparent, t.started_at, t.created_at,
    extract(epoch from t.deadline_at - now())::float8
