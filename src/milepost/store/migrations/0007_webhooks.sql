-- Whom a tenant has told over HTTP that tasks end.
create table milepost.webhooks (
    id uuid primary key,
    tenant text not null,
    url text not null,
    description text,
    -- Which ends are told; null: any.
    types text[],
    states text[],
    labels jsonb,
    secret text not null,
    -- After a rotation: signs besides, until then.
    secret_old text,
    secret_old_until timestamptz,
    created_at timestamptz not null default now(),
    -- Since then nothing is noted and nothing sent: by a person's wish or, after days of failure, by ours.
    disabled_at timestamptz,
    disabled_reason text,
    -- Since when every attempt has failed, how many have, and how the last one did.
    failing_since timestamptz,
    failures int not null default 0,
    last_error text,
    -- When it last answered again: what waited for that may go at once.
    recovered_at timestamptz,
    -- The row goes when its deliveries have.
    deleted_at timestamptz
);
create index webhooks_by_tenant on milepost.webhooks (tenant, id) where deleted_at is null;
create index webhooks_telling on milepost.webhooks (tenant) where disabled_at is null and deleted_at is null;
create index webhooks_deleted on milepost.webhooks (id) where deleted_at is not null;

-- A UUIDv7 (RFC 9562): milliseconds, then chance.
create function milepost.new_id() returns uuid language sql volatile parallel safe as $$
    select (
        lpad(to_hex((extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0')
        || '7' || substr(replace(gen_random_uuid()::text, '-', ''), 14)
    )::uuid
$$;

-- One end of a task to be told to one webhook; without a task: a ping.
create table milepost.deliveries (
    id uuid primary key default milepost.new_id(),
    webhook_id uuid not null,
    tenant text not null,
    task_id uuid,
    epoch int,
    state text not null default 'pending' check (state in ('pending', 'sending', 'delivered', 'failed')),
    -- Fencing token of who sends it, and the number of the attempt.
    attempt int not null default 0,
    created_at timestamptz not null default now(),
    -- When it was first tried, or last replayed, and after which attempt that was.
    begun_at timestamptz not null default now(),
    begun_attempt int not null default 0,
    -- Of one that is being sent: until when its sender has it.
    due_at timestamptz not null default now(),
    attempted_at timestamptz,
    ended_at timestamptz,
    status int,
    error text
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);
create unique index deliveries_once on milepost.deliveries (webhook_id, task_id, epoch);
create index deliveries_open on milepost.deliveries (webhook_id, due_at) where state in ('pending', 'sending');
create index deliveries_sending on milepost.deliveries (webhook_id) where state = 'sending';
-- The log of one webhook.
create index deliveries_by_webhook on milepost.deliveries (webhook_id, id);

create table milepost.delivery_attempts (
    delivery_id uuid not null,
    attempt int not null,
    at timestamptz not null,
    seconds double precision,
    status int,
    error text,
    -- What came back, its beginning.
    answer text,
    primary key (delivery_id, attempt)
);

-- Every end of a task has its row in the outbox, written by whatever statement ends it: here none of them can be
-- forgotten, those of older versions included. An installation without webhooks pays for one look into an empty index.
create function milepost.note_deliveries() returns trigger language plpgsql as $$
begin
    if exists (select from milepost.webhooks as w where w.disabled_at is null and w.deleted_at is null) then
        insert into milepost.deliveries (webhook_id, tenant, task_id, epoch)
        select w.id, t.tenant, t.id, n.epoch
        from noted as n
        join milepost.tasks as t on t.id = n.task_id and t.epoch = n.epoch
        join milepost.webhooks as w on w.tenant = t.tenant and w.disabled_at is null and w.deleted_at is null
        where (w.types is null or t.type = any(w.types))
            and (w.states is null or t.state = any(w.states))
            and (w.labels is null or t.labels @> w.labels)
        on conflict do nothing;
    end if;
    return null;
end
$$;
create trigger outbox_notes_deliveries after insert on milepost.outbox
    referencing new table as noted for each statement execute function milepost.note_deliveries();
