-- Deliveries of a webhook to be made once more, a page of $8 at most, the oldest first: those in state $3 that were noted in a
-- span of time, after $7, where the page before ended. Only what was begun before $6, the instant of the first page: what was
-- noted, sent or replayed since is not sent once more. What waits or is under way is left alone.
-- An id is made after its row's transaction has begun, and no such transaction lasts an hour.
-- Ordered and compared as its index is (webhook, state, id): else the plan may read the ids of all webhooks in their order.
with span as (
    select coalesce($6::timestamptz, now()) as began,
        greatest($7::uuid, milepost.first_id($4::timestamptz)) as after,
        milepost.first_id(coalesce($5::timestamptz, $6, now()) + interval '1 hour') as until
),
found as (
    select f.id
    from unnest(case when $3::text is null then array['delivered', 'failed'] else array[$3] end) as s (state)
    cross join lateral (
        select d.id
        from milepost.deliveries as d
        where d.webhook_id = any(array[$2::uuid]) and d.tenant || '' = $1
            and (d.state, d.id) > (s.state, coalesce((select after from span), '00000000-0000-0000-0000-000000000000'))
            and (d.state, d.id) < (s.state, (select until from span))
            and ($4 is null or d.created_at >= $4)
            and ($5 is null or d.created_at < $5)
            and d.begun_at < (select began from span)
        order by d.webhook_id, d.state, d.id
        limit $8
    ) as f
    order by f.id
    limit $8
),
chosen as (
    select d.id
    from found as f
    join milepost.deliveries as d on d.id = f.id
    where d.state || '' in ('delivered', 'failed') and d.begun_at < (select began from span)
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
    case when (select count(*) from found) = $8 then (select f.id from found as f order by f.id desc limit 1) end as last
from span as s
