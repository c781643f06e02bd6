delete from milepost.workers where id = $1 or seen_at < now() - interval '1 hour'
