-- What an authenticator has to know of keys, by their digests.
select id, digest, tenant, scopes, expires_at, revoked_at
from milepost.api_keys
where digest = any($1::bytea[])
