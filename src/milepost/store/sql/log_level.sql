-- What a service logs from now, other than its settings say, and for how many seconds more.
select level, extract(epoch from until - now())::float8 as left_s
from milepost.log_levels
where service = $1 and until > now()
