-- What changed since $1 (null: in the last hour, which no token outlives): keys that were revoked, quotas of tenants. Those of
-- the tenants $2 come in any case. The first row says when this is.
select
    now() as at, null::uuid as revoked, null::text as tenant,
    null::int as requests, null::float8 as requests_per, null::int as queued, null::bigint as queued_bytes
union all
select k.revoked_at, k.id, k.tenant, null, null, null, null
from milepost.api_keys as k
where k.revoked_at > coalesce($1::timestamptz, now() - interval '1 hour 5 minutes')
union all
select t.changed_at, null, t.name, t.requests, t.requests_per, t.queued, t.queued_bytes
from milepost.tenants as t
where t.changed_at > $1::timestamptz
union all
select t.changed_at, null, t.name, t.requests, t.requests_per, t.queued, t.queued_bytes
from milepost.tenants as t
where t.name = any($2::text[])
