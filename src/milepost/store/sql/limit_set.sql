-- Sets one limit; nulls are no bound. A pause stays as it is.
insert into milepost.limits as l (owner, scope, name, concurrency, rate_count, rate_period_s)
values ($1, $2, $3, $4, $5, $6)
on conflict (owner, scope, name) do update
set concurrency = excluded.concurrency, rate_count = excluded.rate_count, rate_period_s = excluded.rate_period_s,
    updated_at = now()
returning owner, scope, name, paused_at, concurrency, rate_count, rate_period_s
