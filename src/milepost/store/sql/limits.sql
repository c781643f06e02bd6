-- Everything people have set to hold tasks back. Few rows; each process reads them every second.
select owner, scope, name, paused_at, concurrency, rate_count, rate_period_s from milepost.limits order by owner, scope, name
