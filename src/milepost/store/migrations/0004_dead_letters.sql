-- What tells one kind of failure from another: the fingerprint in the error as its worker computed it
-- (milepost.domain.failures); for errors that say none (those SQL states itself, those of older workers) the type of
-- task and of error.
create function milepost.failure(type text, error json) returns text language sql immutable parallel safe as $$
    select case
        when error ->> 'fingerprint' ~ '^[0-9a-f]{16}$' then error ->> 'fingerprint'
        else left(md5(type || chr(31) || coalesce(error ->> 'type', '')), 16)
    end
$$;

-- Groups of dead letters, and the members of one, oldest first. Only failing writes to it.
create index tasks_failed on milepost.tasks (tenant, milepost.failure(type, error), id) where state = 'failed';

-- How a task had ended before a person replayed it: what its completion says, should that not be published yet.
alter table milepost.attempts add column ended boolean not null default false;

-- When a task last began anew: from then on the times it may wait and take are counted.
alter table milepost.tasks add column replayed_at timestamptz;

-- One row for each replay: which failures it is about (those before it began), and how far its pace has got.
create table milepost.replays (
    tenant text not null,
    id uuid not null,
    created_at timestamptz not null default now(),
    next_at timestamptz not null default now(),
    primary key (tenant, id)
);
create index replays_by_age on milepost.replays (created_at);

-- Records that could not be processed, copied from the topic of dead letters; the newest 10,000.
create table milepost.dead_records (
    -- Made of the instant and of what the record is: the same however often the copy is read.
    id uuid primary key,
    -- To whom it belongs, if the task it names says so; null: nobody knows.
    tenant text,
    topic text not null,
    partition int not null,
    "offset" bigint not null,
    error text not null,
    fingerprint text not null,
    key bytea,
    value bytea,
    size int not null,
    cut boolean not null,
    headers json not null,
    put_aside_at timestamptz not null,
    replayed_at timestamptz
);
create index dead_records_waiting on milepost.dead_records (fingerprint, id) where replayed_at is null;

-- Cancelled tasks whose descendants may not all have been told yet.
create table milepost.cancellations (
    task_id uuid primary key,
    tenant text not null,
    requested_at timestamptz not null default now(),
    taken_until timestamptz not null
);

-- Children of a task page by page.
create index tasks_by_parent_in_order on milepost.tasks (parent_id, id) where parent_id is not null;
drop index milepost.tasks_by_parent;
