select name, created_at, requests, requests_per, queued, queued_bytes
from milepost.tenants
where $1::text is null or name > $1
order by name
limit $2
