-- How many tasks wait in some queues of some tenants, and the slots of the workers that serve the queue. No more are
-- counted, nor read, than the window holds: $4 times the slots, $3 at least.
select p.tenant, p.queue, waiting.queued, served.slots
from unnest($1::text[], $2::text[]) as p (tenant, queue)
cross join lateral (
    select coalesce(sum(w.slots), 0)::int as slots
    from milepost.workers as w
    where p.queue = any(w.queues) and not w.draining and w.seen_at > now() - $5 * interval '1 second'
) as served
cross join lateral (
    select count(*)::int as queued
    from (
        select
        from milepost.tasks as t
        where t.state = 'queued' and t.queue = p.queue and t.tenant = p.tenant
        limit greatest($3::int, $4::int * served.slots)
    ) as counted
) as waiting
