-- What runs, by tenant, queue, type and key. Reads what runs and no more.
select tenant, queue, type, coalesce(key, '') as key, count(*)::int as running
from milepost.tasks
where state = 'running'
group by 1, 2, 3, 4
