-- Ids of failed tasks that match, group by group.
select t.id
from milepost.tasks as t
where t.tenant = $1 and t.state = 'failed'
    and ($2::text is null or t.type = $2)
    and ($3::text is null or t.queue = $3)
    and t.finished_at < $4
    and ($5::timestamptz is null or t.finished_at >= $5)
order by milepost.failure(t.type, t.error), t.id
limit $6
