-- Make a key, and its tenant if this is the first; no row: the tenant has as many keys as it may have.
with tenant as (
    insert into milepost.tenants (name) values ($2::text) on conflict (name) do nothing
)
insert into milepost.api_keys (id, tenant, digest, prefix, name, scopes, created_by, expires_at)
select $1, $2, $3, $4, $5, $6, $7, coalesce($8::timestamptz, now() + $9::float8 * interval '1 second')
where (
    select count(*)
    from milepost.api_keys as k
    -- Those that were revoked of late are remembered by every process.
    where k.tenant = $2
        and (k.revoked_at > now() - interval '1 hour' or (k.revoked_at is null and coalesce(k.expires_at > now(), true)))
) < $10::int
returning id, tenant, prefix, name, scopes, created_at, created_by, expires_at, last_used_at, revoked_at
