-- Begins ($3) or ends the pause of an owner's tasks in a queue; limits stay as they are. One that was paused before stays
-- so since then. Those of the owner that hold nothing back any more go, and are not counted. No row comes back if the owner
-- has $4 limits and pauses already.
with void as (
    delete from milepost.limits
    where owner = $1 and (scope, name) <> ('queue', $2)
        and (paused_at, concurrency, rate_count) is not distinct from (null, null, null)
)
insert into milepost.limits as l (owner, scope, name, paused_at)
select $1, 'queue', $2, case when $3 then now() end
where (
    select count(*)
    from milepost.limits
    where owner = $1 and (scope, name) <> ('queue', $2)
        and (paused_at, concurrency, rate_count) is distinct from (null, null, null)
) < $4
on conflict (owner, scope, name) do update
set paused_at = case when $3 then coalesce(l.paused_at, now()) end, updated_at = now()
returning owner, scope, name, paused_at, concurrency, rate_count, rate_period_s
