-- Running tasks of a tenant that take places under a limit, longest running first; null: of any queue, type or key.
select id
from milepost.tasks
where state = 'running' and tenant = $1 and ($2::text is null or queue = $2) and ($3::text is null or type = $3)
    and ($4::text is null or key = $4)
order by started_at
limit $5
