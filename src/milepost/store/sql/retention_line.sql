-- The line after that of queue $2 (null: the first): first those of tasks that succeeded or were cancelled, then, or if
-- $1, those of tasks that failed. Found by jumps in the indexes.
(
    select false as failed, t.queue
    from milepost.tasks as t
    where not $1::boolean and t.state in ('succeeded', 'cancelled') and t.queue > coalesce($2::text, '')
    order by t.queue
    limit 1
)
union all
(
    select true, t.queue
    from milepost.tasks as t
    where t.state = 'failed' and t.queue > case when $1 then coalesce($2::text, '') else '' end
    order by t.queue
    limit 1
)
limit 1
