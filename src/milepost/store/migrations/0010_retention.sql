-- How long finished tasks of a queue are kept: seconds since their end; null: as the settings say; infinity: for ever.
create table milepost.retention (
    queue text primary key,
    finished_s double precision check (finished_s >= 3600),
    failed_s double precision check (failed_s >= 3600),
    updated_at timestamptz not null default now()
);

-- Whoever holds this row deletes what is old: where it has got to, and when it may go on.
create table milepost.retention_pass (
    one boolean primary key default true check (one),
    next_at timestamptz not null default now(),
    -- Whether it is at the tasks that failed, of which queue (none: it begins anew), and behind which end.
    failed boolean not null default false,
    queue text,
    finished_at timestamptz,
    id uuid,
    -- Tasks deleted so far.
    deleted bigint not null default 0
) with (fillfactor = 50);
insert into milepost.retention_pass default values;
