-- What services log from now, other than their settings say, and for how many seconds more.
select service, level, extract(epoch from until - now())::float8 as left_s
from milepost.log_levels
where until > now()
order by service
