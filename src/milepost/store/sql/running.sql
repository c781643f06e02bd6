-- What runs of some tenants ($1) by queue, type and key. Reads what runs of them and no more.
select tenant, queue, type, coalesce(key, '') as key, count(*)::int as running
from milepost.tasks
where state = 'running' and tenant = any($1::text[])
group by 1, 2, 3, 4
