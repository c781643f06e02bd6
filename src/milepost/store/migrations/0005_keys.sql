-- Tenants that were given a key or a quota; the installation's own (MILEPOST_TENANT) needs no row.
create table milepost.tenants (
    name text primary key check (name ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    -- What they may take at most; null: what the settings say.
    -- A bucket of so many requests, which fills within so many seconds.
    requests int check (requests > 0),
    requests_per double precision check (requests_per > 0),
    -- Tasks that wait (queued and scheduled), and bytes of their payloads.
    queued int check (queued >= 0),
    queued_bytes bigint check (queued_bytes >= 0),
    created_at timestamptz not null default now(),
    changed_at timestamptz not null default now()
);
create index tenants_by_change on milepost.tenants (changed_at);

-- Keys are found by the SHA-256 of the whole key, which is nowhere: 256 random bits need no slow hash.
create table milepost.api_keys (
    id uuid primary key,
    tenant text not null references milepost.tenants (name),
    digest bytea not null unique check (octet_length(digest) = 32),
    -- The public part, by which people tell keys apart.
    prefix text not null,
    name text not null,
    scopes text[] not null,
    created_at timestamptz not null default now(),
    -- The key that made it; null: the one in the settings.
    created_by uuid,
    expires_at timestamptz,
    -- In no index, so that writing it now and then writes none (HOT).
    last_used_at timestamptz,
    revoked_at timestamptz
) with (fillfactor = 70);
create index api_keys_by_tenant on milepost.api_keys (tenant, id);
create index api_keys_revoked on milepost.api_keys (revoked_at) where revoked_at is not null;

-- Bytes of the payload, of tasks whose tenant has a quota of what waits; null for all others, which so pay nothing.
alter table milepost.tasks add column counted_bytes int;
create index tasks_counted on milepost.tasks (tenant, counted_bytes)
    where counted_bytes is not null and state in ('queued', 'scheduled');
