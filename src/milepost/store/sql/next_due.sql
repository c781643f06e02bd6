-- Seconds until the due pass has something to do; null when nothing is scheduled.
select extract(epoch from least(
    (select min(due_at) from milepost.tasks where state = 'scheduled'),
    (select min(expires_at) from milepost.tasks where expires_at is not null and state in ('queued', 'scheduled'))
) - now())::float8
