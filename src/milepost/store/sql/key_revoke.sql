-- Revoke a key; the second time changes nothing. $2: only if it is this tenant's; null: whosever it is.
update milepost.api_keys
set revoked_at = coalesce(revoked_at, now())
where id = $1 and ($2::text is null or tenant = $2)
returning id, tenant, prefix, name, scopes, created_at, created_by, expires_at, last_used_at, revoked_at
