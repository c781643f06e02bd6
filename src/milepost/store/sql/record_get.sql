select r.* from milepost.dead_records as r where r.id = $3 and (r.tenant = $1 or $2)
