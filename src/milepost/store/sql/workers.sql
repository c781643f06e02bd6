select * from milepost.workers where seen_at > now() - $1 * interval '1 second' order by started_at, id
