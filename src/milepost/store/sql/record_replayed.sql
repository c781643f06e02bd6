update milepost.dead_records set replayed_at = now() where id = any($1::uuid[])
