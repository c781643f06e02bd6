-- Sets one limit; nulls are no bound. A pause stays as it is. Those of the owner that bound nothing any more go, and are not
-- counted. No row comes back if the owner has $7 already: workers keep all of them in memory.
with void as (
    delete from milepost.limits
    where owner = $1 and (scope, name) <> ($2, $3)
        and (paused_at, concurrency, rate_count) is not distinct from (null, null, null)
)
insert into milepost.limits as l (owner, scope, name, concurrency, rate_count, rate_period_s)
select $1, $2, $3, $4, $5, $6
where (
    select count(*)
    from milepost.limits
    where owner = $1 and (scope, name) <> ($2, $3)
        and (paused_at, concurrency, rate_count) is distinct from (null, null, null)
) < $7
on conflict (owner, scope, name) do update
set concurrency = excluded.concurrency, rate_count = excluded.rate_count, rate_period_s = excluded.rate_period_s,
    updated_at = now()
returning owner, scope, name, paused_at, concurrency, rate_count, rate_period_s
