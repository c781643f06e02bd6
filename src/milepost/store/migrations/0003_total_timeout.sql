-- The end of a task's total time, over all its attempts. expires_at is never later, so that whatever looks for tasks
-- that are not worth starting any more finds these too, by the index it has.
alter table milepost.tasks add column deadline_at timestamptz;
alter table milepost.types add column total_timeout_s double precision;
