-- As list, of a task that has no parent and all below it. The limit in the middle is for the planner, which would read and
-- sort a whole tree otherwise.
select t.*
from (
    select *
    from milepost.tasks
    where id = $10 and parent_id is null
        and tenant || '' = $1
        and ($2::text[] is null or state || '' = any($2))
        and ($3::text is null or type = $3)
        and ($4::text is null or queue = $4)
        and ($5::jsonb is null or labels @> $5)
        and ($6::timestamptz is null or created_at >= $6)
        and ($7::timestamptz is null or created_at < $7)
        and id < coalesce($8::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
    union all
    (
        select *
        from milepost.tasks
        where root_id = $10 and parent_id is not null
            and tenant || '' = $1
            and ($2::text[] is null or state || '' = any($2))
            and ($3::text is null or type = $3)
            and ($4::text is null or queue = $4)
            and ($5::jsonb is null or labels @> $5)
            and ($6::timestamptz is null or created_at >= $6)
            and ($7::timestamptz is null or created_at < $7)
            and id < coalesce($8::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
        order by id desc
        limit $9
    )
) as t
order by t.id desc
limit $9
