-- Whether these limits are ours to claim under until the transaction ends. Nobody is waited for: who has them takes what
-- room there is, and the next look is soon.
select bool_and(pg_try_advisory_xact_lock(key)) from unnest($1::bigint[]) as l (key)
