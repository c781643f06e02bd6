-- Says where the pass has got to, and lets it go on after $6 times what this transaction took, and not before $7 seconds
-- after its beginning.
update milepost.retention_pass
set failed = $1, queue = $2, finished_at = $3, id = $4, deleted = deleted + $5,
    next_at = greatest(clock_timestamp() + $6::float8 * (clock_timestamp() - now()), now() + $7::float8 * interval '1 second')
