-- Something below still runs: look again soon, and the less often the longer that takes.
update milepost.cancellations
set taken_until = now() + greatest(interval '2 seconds', least(interval '60 seconds', (now() - requested_at) / 4))
where task_id = $1
