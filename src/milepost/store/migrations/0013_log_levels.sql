-- What the services log from for a while, other than their settings say.
create table milepost.log_levels (
    service text primary key check (service in ('api', 'worker', 'notifier')),
    level text not null check (level in ('debug', 'info', 'warning', 'error')),
    until timestamptz not null
);
