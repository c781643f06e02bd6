select t.*
from milepost.tasks as t
join unnest($1::text[], $2::uuid[]) as w (tenant, id) on w.tenant = t.tenant and w.id = t.id
