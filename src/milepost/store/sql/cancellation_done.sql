delete from milepost.cancellations where task_id = $1
