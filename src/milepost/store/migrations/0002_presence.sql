-- Whether the worker says that it holds its presence lock: only such a worker can be found dead by a free lock.
alter table milepost.workers add column if not exists presence boolean not null default false;
create index if not exists workers_present on milepost.workers (id) where presence;
