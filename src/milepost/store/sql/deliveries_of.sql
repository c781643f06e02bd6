-- The log of one webhook, the newest first, those before $4.
select d.*, t.type, coalesce(e.outcome, t.state) as outcome
from milepost.deliveries as d
left join milepost.tasks as t on t.id = d.task_id and t.tenant = $1
left join milepost.attempts as e on e.task_id = d.task_id and e.epoch = d.epoch and e.ended and t.epoch <> d.epoch
where d.webhook_id = $2 and d.tenant || '' = $1
    and ($3::text is null or d.state || '' = $3)
    and d.id < coalesce($4::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
order by d.id desc
limit $5
