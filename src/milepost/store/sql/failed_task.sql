select t.*, milepost.failure(t.type, t.error) as fingerprint_of_failure
from milepost.tasks as t
where t.tenant = $1 and t.id = $2 and t.state || '' = 'failed'
