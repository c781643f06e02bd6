-- What an authenticator has to know of keys, by their digests, and what their tenants may take.
select
    k.id, k.digest, k.tenant, k.scopes, k.expires_at, k.revoked_at,
    t.requests, t.requests_per, t.queued, t.queued_bytes
from milepost.api_keys as k
left join milepost.tenants as t on t.name = k.tenant
where k.digest = any($1::bytea[])
