-- concurrently: tasks and deliveries are written all the time, and each of these may take minutes.

-- The ends of a queue's tasks, oldest first; each end writes to one of the two.
create index concurrently if not exists tasks_ended on milepost.tasks (queue, finished_at, id)
    where state in ('succeeded', 'cancelled');
create index concurrently if not exists tasks_failed_ended on milepost.tasks (queue, finished_at, id)
    where state = 'failed';

-- What was told of a task.
create index concurrently if not exists deliveries_by_task on milepost.deliveries (task_id);
-- The log of one webhook by state, in order: a look for the few that failed reads none of those that were delivered.
create index concurrently if not exists deliveries_by_state on milepost.deliveries (webhook_id, state, id);
