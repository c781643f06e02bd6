-- Deliveries of a webhook to be made once more, the oldest first, $7 at most: those named ($3), or those in state $4 that were
-- noted in a span of time. What waits or is under way is left alone. `more` says that the limit was reached.
with chosen as (
    select d.id
    from milepost.deliveries as d
    where d.webhook_id = $2 and d.tenant || '' = $1 and d.state || '' in ('delivered', 'failed')
        and ($3::uuid[] is null or d.id = any($3))
        and ($4::text is null or d.state || '' = $4)
        and ($5::timestamptz is null or d.created_at >= $5)
        and ($6::timestamptz is null or d.created_at < $6)
    order by d.id
    limit $7
    for no key update of d skip locked
),
again as (
    update milepost.deliveries as d
    set state = 'pending', due_at = now(), begun_at = now(), begun_attempt = d.attempt, ended_at = null
    from chosen
    where d.id = chosen.id
    returning d.id
)
select id from again order by id
