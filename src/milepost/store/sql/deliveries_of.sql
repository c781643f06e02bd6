-- The log of one webhook, the newest first, those before $3.
-- Ordered by the webhook too, and that not an equality: else the plan may read the ids of all webhooks in their order.
select d.*, t.type, coalesce(e.outcome, t.state) as outcome
from milepost.deliveries as d
left join milepost.tasks as t on t.id = d.task_id and t.tenant || '' = $1
left join milepost.attempts as e on e.task_id = d.task_id and e.epoch = d.epoch and e.ended and t.epoch <> d.epoch
where d.webhook_id = any(array[$2::uuid]) and d.tenant || '' = $1
    and d.id < coalesce($3::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
order by d.webhook_id desc, d.id desc
limit $4
