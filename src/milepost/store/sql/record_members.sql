-- Members of a group of records nobody could read, the newest first, without what they hold.
select r.id, r.topic, r.partition, r."offset", r.error, r.fingerprint, r.put_aside_at, r.replayed_at
from milepost.dead_records as r
where r.fingerprint = $3 and r.replayed_at is null and (r.tenant = $1 or $2)
    and r.id < coalesce($4::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
order by r.id desc
limit $5
