-- Coarse on purpose: several processes see the same keys, and one write a minute is enough.
update milepost.api_keys
set last_used_at = now()
where id = any($1::uuid[]) and (last_used_at is null or last_used_at < now() - interval '30 seconds')
