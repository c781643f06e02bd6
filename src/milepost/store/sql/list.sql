select t.*
from milepost.tasks as t
where t.tenant = $1
    and ($2::text[] is null or t.state = any($2))
    and ($3::text is null or t.type = $3)
    and ($4::text is null or t.queue = $4)
    and ($5::jsonb is null or t.labels @> $5)
    and ($6::uuid is null or t.parent_id = $6)
    and ($7::timestamptz is null or t.created_at >= $7)
    and ($8::timestamptz is null or t.created_at < $8)
    and ($9::uuid is null or t.id < $9)
order by t.id desc
limit $10
