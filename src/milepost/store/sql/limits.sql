-- Everything people have set to hold tasks back, of all tenants: for workers, whenever something of it has changed.
select owner, scope, name, paused_at, concurrency, rate_count, rate_period_s from milepost.limits order by owner, scope, name
