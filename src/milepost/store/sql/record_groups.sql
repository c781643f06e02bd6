-- Groups of records nobody could read, by fingerprint, after $3. The table is small: it keeps only the newest records.
select g.fingerprint, g.count, newest.topic, newest.error, newest.id as newest, newest.put_aside_at as newest_at,
    oldest.id as oldest, oldest.put_aside_at as oldest_at
from (
    select r.fingerprint, count(*) as count
    from milepost.dead_records as r
    where r.replayed_at is null and (r.tenant = $1 or $2) and r.fingerprint > $3 and ($5::text is null or r.topic = $5)
    group by r.fingerprint
    order by r.fingerprint
    limit $4
) as g
cross join lateral (
    select r.id, r.topic, r.error, r.put_aside_at
    from milepost.dead_records as r
    where r.fingerprint = g.fingerprint and r.replayed_at is null and (r.tenant = $1 or $2)
    order by r.id desc
    limit 1
) as newest
cross join lateral (
    select r.id, r.put_aside_at
    from milepost.dead_records as r
    where r.fingerprint = g.fingerprint and r.replayed_at is null and (r.tenant = $1 or $2)
    order by r.id
    limit 1
) as oldest
order by g.fingerprint
