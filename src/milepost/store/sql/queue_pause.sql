-- Begins ($3) or ends the pause of an owner's tasks in a queue; limits stay as they are. One that was paused before stays
-- so since then.
insert into milepost.limits as l (owner, scope, name, paused_at)
values ($1, 'queue', $2, case when $3 then now() end)
on conflict (owner, scope, name) do update
set paused_at = case when $3 then coalesce(l.paused_at, now()) end, updated_at = now()
returning owner, scope, name, paused_at, concurrency, rate_count, rate_period_s
