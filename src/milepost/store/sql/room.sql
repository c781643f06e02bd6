-- How many tasks wait in some queues of some tenants, $3 of each at most, and the slots of the workers that serve the
-- queue. Reads no more of the index than it counts.
select p.tenant, p.queue,
    (
        select count(*)
        from (
            select from milepost.tasks as t where t.state = 'queued' and t.queue = p.queue and t.tenant = p.tenant limit $3
        ) as waiting
    )::int as queued,
    (
        select coalesce(sum(w.slots), 0)
        from milepost.workers as w
        where p.queue = any(w.queues) and not w.draining and w.seen_at > now() - $4 * interval '1 second'
    )::int as slots
from unnest($1::text[], $2::text[]) as p (tenant, queue)
