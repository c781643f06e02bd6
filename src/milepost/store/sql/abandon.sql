-- The worker of the epoch gives tasks up: the next sweep takes them back, with the reason given here. An attempt that
-- does not count is given back now. A running task has no error but this one, so saying it twice changes nothing.
update milepost.tasks as t
set lease_until = now(), error = g.error,
    attempt = case when g.counts then t.attempt else greatest(t.attempt - 1, 0) end
from unnest($1::uuid[], $2::int[], $3::json[], $4::bool[]) as g (id, epoch, error, counts)
where t.id = g.id and t.epoch = g.epoch and t.state || '' = 'running' and t.error is null
returning t.id, t.epoch
