-- Starts that were just claimed use up their rates, by $4 seconds each. Paces that are over say nothing and go.
with over as (
    delete from milepost.paces
    where (owner, scope, name) in (
        select owner, scope, name from milepost.paces
        where next_at < now() - interval '1 minute'
        order by next_at
        limit 100
        for update skip locked
    )
)
insert into milepost.paces as p (owner, scope, name, next_at)
select owner, scope, name, now() + used * interval '1 second'
from unnest($1::text[], $2::text[], $3::text[], $4::float8[]) as n (owner, scope, name, used)
on conflict (owner, scope, name) do update
set next_at = greatest(now(), p.next_at) + (excluded.next_at - now())
