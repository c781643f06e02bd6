-- As list, of one parent's children.
select t.*
from milepost.tasks as t
where t.parent_id = $10
    and ($11::uuid is null or t.root_id = $11)
    and t.tenant || '' = $1
    and ($2::text[] is null or t.state || '' = any($2))
    and ($3::text is null or t.type = $3)
    and ($4::text is null or t.queue = $4)
    and ($5::jsonb is null or t.labels @> $5)
    and ($6::timestamptz is null or t.created_at >= $6)
    and ($7::timestamptz is null or t.created_at < $7)
    and t.id < coalesce($8::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
order by t.id desc
limit $9
