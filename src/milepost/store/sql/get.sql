select t.* from milepost.tasks as t where t.tenant = $1 and t.id = $2
