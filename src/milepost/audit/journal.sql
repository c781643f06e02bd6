-- A journal of every change of a task's state, epoch or attempt, for audits: what rows alone cannot tell, such as two
-- terminal commits; and of tasks that were deleted. It costs an insert for each change; it is meant for tests and
-- benchmarks.
create schema if not exists milepost_audit;

create table if not exists milepost_audit.moves (
    n bigserial primary key,
    at timestamptz not null default clock_timestamp(),
    task_id uuid not null,
    source text,
    target text not null,
    epoch_before int not null,
    epoch int not null,
    attempt_before int not null,
    attempt int not null,
    max_attempts int not null,
    worker uuid,
    application text not null
);

-- Tasks as they were when they were deleted.
create table if not exists milepost_audit.deleted (
    id uuid not null,
    tenant text not null,
    type text not null,
    state text not null,
    epoch int not null,
    seq int not null,
    attempt int not null,
    max_attempts int not null,
    result json,
    labels jsonb not null,
    idempotency_key text,
    finished_at timestamptz
);

create or replace function milepost_audit.keep() returns trigger language plpgsql as $$
begin
    insert into milepost_audit.deleted
    values (old.id, old.tenant, old.type, old.state, old.epoch, old.seq, old.attempt, old.max_attempts, old.result,
        old.labels, old.idempotency_key, old.finished_at);
    return null;
end $$;

create or replace function milepost_audit.note() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        insert into milepost_audit.moves
            (task_id, source, target, epoch_before, epoch, attempt_before, attempt, max_attempts, worker, application)
        values (new.id, null, new.state, 0, new.epoch, 0, new.attempt, new.max_attempts, new.worker,
            current_setting('application_name'));
    else
        insert into milepost_audit.moves
            (task_id, source, target, epoch_before, epoch, attempt_before, attempt, max_attempts, worker, application)
        values (new.id, old.state, new.state, old.epoch, new.epoch, old.attempt, new.attempt, new.max_attempts,
            new.worker, current_setting('application_name'));
    end if;
    return null;
end $$;

create or replace trigger audit_born after insert on milepost.tasks
    for each row execute function milepost_audit.note();
create or replace trigger audit_moved after update on milepost.tasks
    for each row when (
        old.state is distinct from new.state or old.epoch is distinct from new.epoch
        or old.attempt is distinct from new.attempt
        or (old.state in ('succeeded', 'failed', 'cancelled') and old.finished_at is distinct from new.finished_at)
    ) execute function milepost_audit.note();
create or replace trigger audit_deleted after delete on milepost.tasks
    for each row execute function milepost_audit.keep();
