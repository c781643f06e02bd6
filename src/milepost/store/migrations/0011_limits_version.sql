-- What says that limits or pauses have changed, whoever wrote them, older versions included: each worker asks every second,
-- and reads them all only then. By chance, not counted: after a failover that lost a change none comes a second time.
create table milepost.limits_version (
    one boolean primary key default true check (one),
    version uuid not null default gen_random_uuid()
);
insert into milepost.limits_version default values;

create function milepost.note_limits() returns trigger language plpgsql as $$
begin
    update milepost.limits_version set version = gen_random_uuid();
    return null;
end
$$;
create trigger limits_are_noted after insert or update or delete or truncate on milepost.limits
    for each statement execute function milepost.note_limits();
