-- Groups of failed tasks, by fingerprint, after $2: each step is one look-up in the index, however many tasks failed.
-- Counting stops at $5.
with recursive kinds as (
    (
        select milepost.failure(t.type, t.error) as fingerprint
        from milepost.tasks as t
        where t.tenant = $1 and t.state = 'failed' and milepost.failure(t.type, t.error) > $2
        order by milepost.failure(t.type, t.error)
        limit 1
    )
    union all
    select (
        select milepost.failure(t.type, t.error)
        from milepost.tasks as t
        where t.tenant = $1 and t.state = 'failed' and milepost.failure(t.type, t.error) > k.fingerprint
        order by milepost.failure(t.type, t.error)
        limit 1
    )
    from kinds as k
    where k.fingerprint is not null
)
select k.fingerprint, newest.type, newest.error, newest.id as newest, newest.finished_at as newest_at,
    oldest.id as oldest, oldest.finished_at as oldest_at, counted.count
from kinds as k
cross join lateral (
    select t.id, t.type, t.error, t.finished_at
    from milepost.tasks as t
    where t.tenant = $1 and t.state = 'failed' and milepost.failure(t.type, t.error) = k.fingerprint
    order by t.id desc
    limit 1
) as newest
cross join lateral (
    select t.id, t.finished_at
    from milepost.tasks as t
    where t.tenant = $1 and t.state = 'failed' and milepost.failure(t.type, t.error) = k.fingerprint
    order by t.id
    limit 1
) as oldest
cross join lateral (
    select count(*) as count
    from (
        select 1
        from milepost.tasks as t
        where t.tenant = $1 and t.state = 'failed' and milepost.failure(t.type, t.error) = k.fingerprint
        limit $5
    ) as few
) as counted
where $4::text is null or newest.type = $4
limit $3
