select t.*,
    (select count(*) from milepost.workers as w
        where t.type = any(w.types) and w.seen_at > now() - $1 * interval '1 second')::int as workers
from milepost.types as t
order by t.type
