-- Sets for how long finished tasks of a queue are kept; null: as the settings say. No row comes back if there are $4
-- queues with numbers of their own already.
with void as (
    delete from milepost.retention where queue <> $1 and finished_s is null and failed_s is null
)
insert into milepost.retention as r (queue, finished_s, failed_s)
select $1, $2, $3
where (select count(*) from milepost.retention where queue <> $1) < $4
on conflict (queue) do update
set finished_s = excluded.finished_s, failed_s = excluded.failed_s, updated_at = now()
returning queue, finished_s, failed_s
