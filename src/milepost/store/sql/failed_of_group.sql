-- Ids of failed tasks of one group that match, the oldest first.
select t.id
from milepost.tasks as t
where t.tenant = $1 and t.state = 'failed' and milepost.failure(t.type, t.error) = $2
    and ($3::text is null or t.type = $3)
    and ($4::text is null or t.queue = $4)
    and t.finished_at < $5
    and ($6::timestamptz is null or t.finished_at >= $6)
order by t.id
limit $7
