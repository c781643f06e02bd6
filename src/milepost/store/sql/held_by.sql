-- What Postgres thinks a worker runs. Reads the index of all running tasks, as the sweep does.
select id, epoch from milepost.tasks where state = 'running' and worker = $1
