select t.*
from milepost.tasks as t
join unnest($1::text[], $2::text[]) as k (tenant, idempotency_key) using (tenant, idempotency_key)
union all
select t.*
from milepost.tasks as t
join unnest($1::text[], $3::uuid[]) as k (tenant, id) using (tenant, id)
