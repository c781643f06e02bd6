-- Whose turn it is: the queued tasks of a queue by tenant, priority, type and key, oldest first. It takes the place of
-- the index in which all tenants stood in one line. (An older version finds tasks by it too, with a sort.)
create index tasks_waiting on milepost.tasks (queue, tenant, priority, type, (coalesce(key, '')), queued_at)
    where state = 'queued';
drop index milepost.tasks_queued;

-- What runs, by tenant: counted where a limit holds. It takes the place of the one by id.
create index tasks_at_work on milepost.tasks (tenant, queue) where state = 'running';
drop index milepost.tasks_running;
alter index milepost.tasks_at_work rename to tasks_running;

-- What people have set to hold tasks back: pauses of queues, and limits of queues, types, keys and tenants.
create table milepost.limits (
    -- Whose tasks it is about; '*': those of all tenants together.
    owner text not null,
    scope text not null check (scope in ('queue', 'type', 'key', 'tenant')),
    -- Of the queue, type, key or tenant; '': each one that has no limit of its own.
    name text not null,
    paused_at timestamptz,
    -- So many run at once.
    concurrency int check (concurrency >= 0),
    -- So many start in so many seconds.
    rate_count int check (rate_count > 0),
    rate_period_s double precision check (rate_period_s > 0),
    updated_at timestamptz not null default now(),
    primary key (owner, scope, name),
    check ((rate_count is null) = (rate_period_s is null))
);

-- How far the starts under a rate have got: when the next would be due if all came evenly. Written with the claim.
create table milepost.paces (
    owner text not null,
    scope text not null,
    name text not null,
    next_at timestamptz not null,
    primary key (owner, scope, name)
) with (fillfactor = 50);
create index paces_by_age on milepost.paces (next_at);

-- What a worker ended of late, as it says: {queue: {tenant: tasks a second}}.
alter table milepost.workers add column rates json;
