-- Seconds by which the next start of each rate lies ahead of now.
select owner, scope, name, extract(epoch from next_at - now())::float8 as ahead
from milepost.paces
join unnest($1::text[], $2::text[], $3::text[]) as n (owner, scope, name) using (owner, scope, name)
