-- Those of the ids that are failed tasks.
select t.id
from milepost.tasks as t
join unnest($2::uuid[]) as w (id) on w.id = t.id
where t.tenant || '' = $1 and t.state || '' = 'failed' and t.finished_at < $3
order by t.id
