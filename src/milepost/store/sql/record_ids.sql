-- Ids of records that wait and match, whoever they belong to, the oldest first.
select r.id
from milepost.dead_records as r
where r.replayed_at is null
    and ($1::uuid[] is null or r.id = any($1))
    and ($2::text is null or r.fingerprint = $2)
    and ($3::text is null or r.topic = $3)
    and r.put_aside_at < $4
    and ($5::timestamptz is null or r.put_aside_at >= $5)
order by r.id
limit $6
