select d.*, t.type, coalesce(e.outcome, t.state) as outcome
from milepost.deliveries as d
join milepost.webhooks as w on w.id = d.webhook_id and w.tenant = $1 and w.deleted_at is null
left join milepost.tasks as t on t.id = d.task_id and t.tenant || '' = $1
left join milepost.attempts as e on e.task_id = d.task_id and e.epoch = d.epoch and e.ended and t.epoch <> d.epoch
where d.tenant || '' = $1 and d.webhook_id = $2 and d.id = $3
