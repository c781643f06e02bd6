-- Bytes of the payloads of those of the tasks that are in one of the states.
select coalesce(t.counted_bytes, octet_length(t.payload::text)) as size
from unnest($2::uuid[]) as w (id)
join milepost.tasks as t on t.id = w.id
where t.tenant || '' = $1 and t.state || '' = any($3::text[])
