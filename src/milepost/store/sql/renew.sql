-- Keeps leases; a row that is not returned belongs to somebody else by now, or was given up by its own worker (a running
-- task has no error but that one's): a renewal may reach Postgres long after it was sent, when its worker has let go.
update milepost.tasks as t
set lease_until = now() + $5 * interval '1 second', seq = greatest(t.seq, r.seq),
    progress = coalesce(r.progress, t.progress)
from unnest($1::uuid[], $2::int[], $3::int[], $4::json[]) as r (id, epoch, seq, progress)
where t.id = r.id and t.epoch = r.epoch and t.state || '' = 'running' and t.error is null
returning t.id, t.epoch, t.cancel_requested_at is not null as cancel
