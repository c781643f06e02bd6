-- Deletes tasks of one queue ($1; $2: those that failed) that ended long enough ago, with all that is kept of them.
-- Looked at are the next $6 ends behind ($3, $4); $5 is how many seconds they are kept, unless the queue has a number of
-- its own.
-- A tree goes from its leaves up: nothing goes while its root is open or it has children itself. What is still to be
-- published, told or cancelled stays, and what somebody holds right now.
with keep as (
    select coalesce(
        (select case when $2 then r.failed_s else r.finished_s end from milepost.retention as r where r.queue = $1), $5
    ) as seconds
),
line as materialized (
    select case
        when k.seconds = 'infinity' then '-infinity'::timestamptz
        else now() - k.seconds * interval '1 second'
    end as before
    from keep as k
),
old as materialized (
    (
        select t.id, t.finished_at
        from milepost.tasks as t
        where not $2 and t.queue = $1 and t.state in ('succeeded', 'cancelled')
            and (t.finished_at, t.id) > (
                coalesce($3::timestamptz, '-infinity'), coalesce($4, '00000000-0000-0000-0000-000000000000'::uuid)
            )
            and t.finished_at < (select l.before from line as l)
        order by t.finished_at, t.id
        limit $6
    )
    union all
    (
        select t.id, t.finished_at
        from milepost.tasks as t
        where $2 and t.queue = $1 and t.state = 'failed'
            and (t.finished_at, t.id) > (
                coalesce($3::timestamptz, '-infinity'), coalesce($4, '00000000-0000-0000-0000-000000000000'::uuid)
            )
            and t.finished_at < (select l.before from line as l)
        order by t.finished_at, t.id
        limit $6
    )
),
going as materialized (
    select t.id
    from old
    join milepost.tasks as t on t.id = old.id
    left join milepost.tasks as r on r.id = t.root_id
    where t.finished_at = old.finished_at and t.state || '' in ('succeeded', 'failed', 'cancelled')
        and (r.id is null or r.state || '' in ('succeeded', 'failed', 'cancelled'))
        and not exists (select from milepost.tasks as c where c.parent_id = t.id)
        and not exists (select from milepost.outbox as o where o.task_id = t.id)
        and not exists (select from milepost.cancellations as c where c.task_id = t.id)
        and not exists (
            select from milepost.deliveries as d where d.task_id = t.id and d.state || '' in ('pending', 'sending')
        )
    for update of t skip locked
),
runs as (
    delete from milepost.attempts as a using going where a.task_id = going.id
),
told as (
    delete from milepost.deliveries as d
    using going
    where d.task_id = going.id and d.state || '' in ('delivered', 'failed')
    returning d.id
),
tries as (
    delete from milepost.delivery_attempts as a using told where a.delivery_id = told.id
),
gone as (
    delete from milepost.tasks as t using going where t.id = going.id returning t.id
)
select
    (select count(*) from old)::int as seen,
    (select count(*) from gone)::int as deleted,
    (select o.finished_at from old as o order by o.finished_at desc, o.id desc limit 1) as finished_at,
    (select o.id from old as o order by o.finished_at desc, o.id desc limit 1) as id
