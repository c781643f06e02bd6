-- The children of some tasks: of each $3 at most, those that are not over first. Of a task with very many, only the
-- newest $4 are looked at.
select p.tenant, p.id as parent, c.id, c.epoch, c.seq, c.over
from unnest($1::text[], $2::uuid[]) as p (tenant, id)
cross join lateral (
    select newest.id, newest.epoch, newest.seq, newest.over
    from (
        select t.id, t.epoch, t.seq, t.state in ('succeeded', 'failed', 'cancelled') as over
        from milepost.tasks as t
        where t.parent_id = p.id and t.tenant || '' = p.tenant
        order by t.id desc
        limit $4
    ) as newest
    order by newest.over, newest.id
    limit $3
) as c
