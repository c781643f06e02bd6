-- submit: (new) -> queued | scheduled, by the api
-- A row whose idempotency key is taken, or whose id is (this very submission again), is not returned.
insert into milepost.tasks (
    id, tenant, type, queue, priority, state, max_attempts, timeout_s, payload, labels, key, parent_id, root_id,
    traceparent, idempotency_key, fingerprint, created_at, due_at, queued_at, expires_at, deadline_at,
    counted_bytes
)
select
    n.id, n.tenant, n.type, n.queue, n.priority,
    case when due.at > now() then 'scheduled' else 'queued' end,
    n.max_attempts, n.timeout_s, n.payload, n.labels, n.key, n.parent_id, coalesce(n.root_id, n.id),
    n.traceparent, n.idempotency_key, n.fingerprint, now(), due.at,
    case when due.at > now() then null else now() end,
    least(now() + n.expires_in * interval '1 second', deadline.at), deadline.at,
    n.counted_bytes
from unnest(
    $1::uuid[], $2::text[], $3::text[], $4::text[], $5::smallint[], $6::int[], $7::float8[], $8::json[], $9::jsonb[],
    $10::text[], $11::uuid[], $12::uuid[], $13::text[], $14::text[], $15::bytea[], $16::timestamptz[], $17::float8[],
    $18::float8[], $19::float8[], $20::int[]
) as n (
    id, tenant, type, queue, priority, max_attempts, timeout_s, payload, labels,
    key, parent_id, root_id, traceparent, idempotency_key, fingerprint, run_at, delay, expires_in,
    total_timeout, counted_bytes
),
lateral (select coalesce(n.run_at, now() + n.delay * interval '1 second') as at) as due,
-- greatest and least pass over what is null
lateral (select greatest(now(), due.at) + n.total_timeout * interval '1 second' as at) as deadline
on conflict do nothing
returning id, state, created_at, due_at
