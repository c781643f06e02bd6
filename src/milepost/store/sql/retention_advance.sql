-- Says where the pass has got to, and lets it go on after $6 times what this transaction took, $7 seconds at least.
update milepost.retention_pass
set failed = $1, queue = $2, finished_at = $3, id = $4, deleted = deleted + $5,
    next_at = clock_timestamp()
        + greatest($6::float8 * extract(epoch from clock_timestamp() - now())::float8, $7::float8) * interval '1 second'
