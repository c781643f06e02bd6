-- The instant a replay began: only what had failed before is replayed by it, however often it is asked to go on.
with old as (
    delete from milepost.replays
    where created_at < now() - interval '30 days' and next_at < now() and not (tenant = $1 and id = $2)
)
insert into milepost.replays as r (tenant, id)
values ($1, $2)
on conflict (tenant, id) do update set next_at = r.next_at
returning created_at
