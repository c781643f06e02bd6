insert into milepost.workers (id, name, host, pid, version, queues, types, slots, running, draining, presence, rates)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
on conflict (id) do update
set running = excluded.running, draining = excluded.draining, presence = excluded.presence, rates = excluded.rates,
    seen_at = now()
