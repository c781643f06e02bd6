-- What came of attempts, written by who made them: a delivery whose attempt is over is somebody else's. A webhook is
-- written only when it begins or ceases to fail, and while it does; after $10 seconds and $11 failures it is disabled.
-- After $13 seconds and $12 failures it counts as having been away when it answers: what waited is ripe then.
-- What another URL answered than the webhook has by now says nothing about it, and what failed there is tried here.
with settled as (
    update milepost.deliveries as d
    set state = n.state, status = s.status, error = s.error,
        due_at = case when n.state = 'pending' then now() + coalesce(s.delay, 0) * interval '1 second' else d.due_at end,
        ended_at = case when n.state <> 'pending' then now() end
    from unnest(
        $1::uuid[], $2::int[], $3::text[], $4::float8[], $5::int[], $6::text[], $7::float8[], $8::text[], $9::text[]
    ) with ordinality as s (id, attempt, state, delay, status, error, seconds, answer, url, number)
    cross join milepost.webhooks as w
    cross join lateral (
        select case when s.state = 'failed' and s.url <> w.url then 'pending' else s.state end as state
    ) as n
    where d.id = s.id and d.attempt = s.attempt and d.state = 'sending' and w.id = d.webhook_id
    returning d.id, d.webhook_id, d.attempt, d.attempted_at, d.state, s.status, s.error, s.seconds, s.answer, s.url,
        s.number
),
logged as (
    insert into milepost.delivery_attempts (delivery_id, attempt, at, seconds, status, error, answer)
    select id, attempt, attempted_at, seconds, status, error, answer from settled
),
heard as (
    select webhook_id, url, bool_or(state = 'delivered') as good, bool_or(status = 410) as gone,
        count(*) filter (where state <> 'delivered') as failures,
        (array_agg(error order by number desc) filter (where state <> 'delivered'))[1] as error
    from settled
    group by webhook_id, url
),
held as (
    select w.id, w.failing_since, w.failures, w.disabled_at, h.good, h.gone, h.failures as more, h.error
    from milepost.webhooks as w
    join heard as h on h.webhook_id = w.id and h.url = w.url
    where w.failing_since is not null or not h.good or h.gone
    order by w.id
    for no key update of w
),
judged as (
    select h.*,
        h.failures >= $12 and h.failing_since < now() - $13 * interval '1 second' as was_away,
        case
            when h.disabled_at is not null then null
            when h.gone then 'The receiver answered 410 Gone: it wants nothing more.'
            when not h.good and h.failing_since < now() - $10 * interval '1 second' and h.failures + h.more >= $11
            then format(
                'Every attempt since %s failed. The last one: %s',
                to_char(h.failing_since at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), h.error
            )
        end as reason
    from held as h
),
changed as (
    update milepost.webhooks as w
    set failing_since = case when j.good then null else coalesce(w.failing_since, now()) end,
        failures = case when j.good then 0 else w.failures + j.more end,
        last_error = case when j.good then null else j.error end,
        recovered_at = case when j.good and j.was_away then now() else w.recovered_at end,
        disabled_at = case when j.reason is null then w.disabled_at else now() end,
        disabled_reason = coalesce(j.reason, w.disabled_reason)
    from judged as j
    where w.id = j.id
    returning w.id, j.reason
)
select s.id, s.attempt, s.webhook_id, c.reason as disabled
from settled as s left join changed as c on c.id = s.webhook_id
