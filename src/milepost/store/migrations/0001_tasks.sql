create schema if not exists milepost;

create table milepost.tasks (
    id uuid not null,
    tenant text not null,
    type text not null,
    queue text not null,
    priority smallint not null,
    state text not null
        check (state in ('scheduled', 'queued', 'running', 'waiting', 'succeeded', 'failed', 'cancelled')),
    epoch int not null default 0,
    -- Position of the last event of this epoch that Postgres knows of; events may have gone further.
    seq int not null default 0,
    attempt int not null default 0,
    max_attempts int not null,
    timeout_s double precision,
    payload json not null,
    result json,
    error json,
    progress json,
    labels jsonb not null default '{}',
    key text,
    parent_id uuid,
    root_id uuid not null,
    traceparent text,
    idempotency_key text,
    fingerprint bytea,
    created_at timestamptz not null default now(),
    due_at timestamptz,
    queued_at timestamptz,
    expires_at timestamptz,
    started_at timestamptz,
    finished_at timestamptz,
    cancel_requested_at timestamptz,
    worker uuid,
    lease_until timestamptz,
    primary key (id)
) with (
    -- Room on the page for the next versions of a row: renewals touch no index and stay there (HOT).
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_insert_scale_factor = 0.1
);

comment on column milepost.tasks.epoch is 'Fencing token: grows with every change of hands.';

-- Lists: UUIDv7 sorts by time of creation.
create index tasks_by_tenant on milepost.tasks (tenant, id);
create unique index tasks_by_idempotency_key on milepost.tasks (tenant, idempotency_key)
    where idempotency_key is not null;
create index tasks_by_parent on milepost.tasks (parent_id) where parent_id is not null;
-- Stealing: oldest first within a queue and a lane.
create index tasks_queued on milepost.tasks (queue, priority, queued_at) where state = 'queued';
create index tasks_scheduled on milepost.tasks (due_at) where state = 'scheduled';
create index tasks_expiring on milepost.tasks (expires_at)
    where expires_at is not null and state in ('queued', 'scheduled');
-- Sweeping. The lease itself is in no index, so that renewing it writes none.
create index tasks_running on milepost.tasks (id) where state = 'running';

-- Runs that did not end their task: the last run is in the task's own row.
create table milepost.attempts (
    task_id uuid not null,
    epoch int not null,
    attempt int not null,
    outcome text not null,
    error json,
    worker uuid,
    started_at timestamptz,
    finished_at timestamptz not null default now(),
    primary key (task_id, epoch)
);

-- Terminal states whose completion Kafka has not acknowledged yet.
create table milepost.outbox (
    task_id uuid not null,
    epoch int not null,
    created_at timestamptz not null default now(),
    taken_until timestamptz,
    primary key (task_id, epoch)
) with (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000);

create table milepost.types (
    type text primary key,
    queue text not null,
    max_attempts int not null,
    timeout_s double precision,
    isolation text not null,
    description text,
    payload_schema json not null,
    result_schema json,
    announced_at timestamptz not null default now()
);

create table milepost.workers (
    id uuid primary key,
    name text not null,
    host text not null,
    pid int not null,
    version text not null,
    queues text[] not null,
    types text[] not null,
    slots int not null,
    running int not null default 0,
    draining boolean not null default false,
    started_at timestamptz not null default now(),
    seen_at timestamptz not null default now()
);
