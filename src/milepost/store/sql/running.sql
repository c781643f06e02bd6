-- What runs of some tenants ($1; null: of all) by queue, type and key. Reads what runs and no more.
select tenant, queue, type, coalesce(key, '') as key, count(*)::int as running
from milepost.tasks
where state = 'running' and ($1::text[] is null or tenant = any($1))
group by 1, 2, 3, 4
