-- Seconds until the next batch of old tasks may be deleted; not positive: now. Locks nothing, so it may be out of date.
select extract(epoch from next_at - now())::float8 from milepost.retention_pass
