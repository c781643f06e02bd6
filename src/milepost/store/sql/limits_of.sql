-- What holds back the tasks of a tenant ($1): what it has set, and what is set for all. Not the limits on other tenants.
select owner, scope, name, paused_at, concurrency, rate_count, rate_period_s
from (
    select * from milepost.limits where owner = $1
    union all
    select * from milepost.limits where owner = '*' and scope in ('queue', 'type', 'key')
    union all
    select * from milepost.limits where owner = '*' and scope = 'tenant' and name in ($1, '')
) as l
order by owner, scope, name
