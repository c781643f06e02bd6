-- Workers that say they hold their presence lock, and do not. Asking for each lock in turn costs a look into a hash
-- table; pg_locks would copy the locks of everybody. Shared, so that sweepers do not see each other, and until the end
-- of the statement only, so that a worker that comes back waits for nobody. The key is presence_key() of the store.
-- A server that was restarted or promoted since a worker last spoke has none of the locks of before: nobody's is missed.
select w.id, w.seen_at
from (
    select id, seen_at, ('x' || right(replace(id::text, '-', ''), 16))::bit(64)::bigint as key
    from milepost.workers
    where presence and seen_at > greatest(pg_postmaster_start_time(), pg_last_xact_replay_timestamp())
    offset 0
) as w
where pg_try_advisory_xact_lock_shared(w.key)
