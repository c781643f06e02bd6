-- claim: queued -> running, by a worker; new epoch
-- The oldest tasks of some groups (see waiting.sql), of each as many as its share, that have been queued for $9 seconds:
-- 0 for a worker that takes whose turn it is, a second and more for one that looks for lost hints. Under a limit other
-- statements of its transaction came before: now() would say that a task began before the one ended that made room.
with ready as (
    select oldest.id, oldest.begun
    from unnest($1::text[], $2::text[], $3::smallint[], $4::text[], $5::text[], $6::int[])
        as g (queue, tenant, priority, type, key, share)
    cross join lateral (
        select t.id, t.started_at as begun
        from milepost.tasks as t
        where t.state = 'queued' and t.queue = g.queue and t.tenant = g.tenant and t.priority = g.priority
            and t.type = g.type and coalesce(t.key, '') = g.key
            and t.queued_at <= now() - $9 * interval '1 second'
            and (t.expires_at is null or t.expires_at > now())
        order by t.queued_at
        limit g.share
        for no key update skip locked
    ) as oldest
)
update milepost.tasks as t
set state = 'running', epoch = t.epoch + 1, seq = 0, attempt = t.attempt + 1, worker = $7, error = null,
    progress = null, started_at = statement_timestamp(),
    lease_until = statement_timestamp() + $8 * interval '1 second'
from ready
where t.id = ready.id
returning t.id, t.tenant, t.type, t.queue, t.priority, t.epoch, t.attempt, t.max_attempts, t.timeout_s, t.payload,
    t.labels, t.key, t.parent_id, t.root_id, t.traceparent, t.started_at, t.created_at,
    extract(epoch from t.deadline_at - now())::float8,
    case when ready.begun is null or ready.begun < t.queued_at then
        extract(epoch from statement_timestamp() - t.queued_at)::float8 end
