-- Deliveries of a webhook to be made once more, the oldest first: those named ($3), or if none are, a page of $9 at most
-- after $8, where the page before ended. Only what is in state $4 and was noted in a span of time ($5, $6); of a page also
-- only what was begun before $7, the instant of the first page: what was noted, sent or replayed since is not sent once more.
-- What waits or is under way is left alone.
-- An id is made after its row's transaction has begun, and no such transaction lasts an hour.
-- Ordered and compared as its index is (webhook, state, id): else the plan may read the ids of all webhooks in their order.
with span as (
    select coalesce($7::timestamptz, now()) as began,
        greatest($8::uuid, milepost.first_id($5::timestamptz)) as after,
        milepost.first_id(coalesce($6::timestamptz, $7, now()) + interval '1 hour') as until
),
page as (
    select f.id
    from unnest(case when $4::text is null then array['delivered', 'failed'] else array[$4] end) as s (state)
    cross join lateral (
        select d.id
        from milepost.deliveries as d
        where $3::uuid[] is null and d.webhook_id = any(array[$2::uuid]) and d.tenant || '' = $1
            and (d.state, d.id) > (s.state, coalesce((select after from span), '00000000-0000-0000-0000-000000000000'))
            and (d.state, d.id) < (s.state, (select until from span))
            and ($5 is null or d.created_at >= $5)
            and ($6 is null or d.created_at < $6)
            and d.begun_at < (select began from span)
        order by d.webhook_id, d.state, d.id
        limit $9
    ) as f
    order by f.id
    limit $9
),
chosen as (
    select d.id
    from milepost.deliveries as d
    where d.id = any(coalesce($3, array(select p.id from page as p))) and d.webhook_id = $2 and d.tenant || '' = $1
        and d.state || '' in ('delivered', 'failed') and ($4 is null or d.state || '' = $4)
        and ($5 is null or d.created_at >= $5)
        and ($6 is null or d.created_at < $6)
        and ($3 is not null or d.begun_at < (select began from span))
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
select array(select a.id from again as a order by a.id) as ids, s.began,
    case when (select count(*) from page) = $9 then (select p.id from page as p order by p.id desc limit 1) end as last
from span as s
