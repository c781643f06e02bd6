-- A tree in order: a task that has no parent, and all below it. Only tasks with a parent write to it.
create index tasks_by_root on milepost.tasks (root_id, id) where parent_id is not null;
