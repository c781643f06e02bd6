select a.attempt, a.at, a.seconds, a.status, a.error, a.answer
from milepost.delivery_attempts as a
join milepost.deliveries as d on d.id = a.delivery_id and d.tenant || '' = $1
where a.delivery_id = $2
order by a.attempt desc
limit $3
