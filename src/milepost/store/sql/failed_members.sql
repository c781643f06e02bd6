-- Members of a group of failed tasks, the newest first.
select t.id, t.type, t.queue, t.attempt, t.error, t.finished_at, milepost.failure(t.type, t.error) as fingerprint
from milepost.tasks as t
where t.tenant = $1 and t.state = 'failed' and milepost.failure(t.type, t.error) = $2
    and t.id < coalesce($3::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
order by t.id desc
limit $4
