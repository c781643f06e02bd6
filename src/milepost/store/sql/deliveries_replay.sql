-- Deliveries of a webhook to be made once more: those named ($3), as far as they are in
-- state $4 and noted in a span of time. What waits or is under way is left alone.
with chosen as (
    select d.id
    from milepost.deliveries as d
    where d.id = any($3::uuid[]) and d.webhook_id = $2 and d.tenant || '' = $1
        and d.state || '' in ('delivered', 'failed')
        and ($4::text is null or d.state || '' = $4)
        and ($5::timestamptz is null or d.created_at >= $5)
        and ($6::timestamptz is null or d.created_at < $6)
    order by d.id
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
