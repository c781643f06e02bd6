-- claim: queued -> running, by a worker; new epoch
with ready as (
    select t.id, t.started_at as begun
    from milepost.tasks as t
    join unnest($1::uuid[], $2::int[]) as w (id, epoch) on w.id = t.id and w.epoch = t.epoch
    where t.state || '' = 'queued' and (t.expires_at is null or t.expires_at > now())
    order by t.id
    for no key update of t skip locked
)
update milepost.tasks as t
set state = 'running', epoch = t.epoch + 1, seq = 0, attempt = t.attempt + 1, worker = $3, error = null,
    progress = null, started_at = now(), lease_until = now() + $4 * interval '1 second'
from ready
where t.id = ready.id
returning t.id, t.tenant, t.type, t.queue, t.priority, t.epoch, t.attempt, t.max_attempts, t.timeout_s, t.payload,
    t.labels, t.key, t.parent_id, t.root_id, t.traceparent, t.started_at, t.created_at,
    extract(epoch from t.deadline_at - now())::float8,
    case when ready.begun is null or ready.begun < t.queued_at then extract(epoch from now() - t.queued_at)::float8 end
