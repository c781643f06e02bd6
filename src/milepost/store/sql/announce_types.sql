insert into milepost.types (type, queue, max_attempts, timeout_s, isolation, description, payload_schema, result_schema,
    total_timeout_s)
select * from unnest(
    $1::text[], $2::text[], $3::int[], $4::float8[], $5::text[], $6::text[], $7::json[], $8::json[],
    $9::float8[]
)
on conflict (type) do update
set queue = excluded.queue, max_attempts = excluded.max_attempts, timeout_s = excluded.timeout_s,
    isolation = excluded.isolation, description = excluded.description, payload_schema = excluded.payload_schema,
    result_schema = excluded.result_schema, total_timeout_s = excluded.total_timeout_s, announced_at = now()
