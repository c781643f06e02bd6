-- Keys of a tenant, the newest first.
select id, tenant, prefix, name, scopes, created_at, created_by, expires_at, last_used_at, revoked_at
from milepost.api_keys
where tenant = $1 and ($2::uuid is null or id < $2) and ($3::boolean or revoked_at is null)
order by tenant, id desc
limit $4
