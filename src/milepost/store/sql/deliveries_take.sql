-- Deliveries to send now, for $2 seconds ours. Webhooks take turns; each has at most $3 under way at once, one that
-- fails only one, and a tenant $4. What waits for a webhook that has answered again since it was last tried is ripe too
-- (for $5 seconds, the longest it would wait).
-- Its tries count from the first, not from when it was noted: nobody may have been there to send it.
-- Body and state are those of the epoch that ended; if the task was replayed since, history has them.
with hooks as (
    select w.id, w.tenant, w.failing_since, w.recovered_at,
        greatest(0, case when w.failing_since is null then $3 else 1 end - under_way.count)::bigint as room,
        sum(under_way.count) over (partition by w.tenant) as of_tenant
    from milepost.waiting_webhooks() as waiting (id)
    join milepost.webhooks as w on w.id = waiting.id and w.disabled_at is null and w.deleted_at is null
    cross join lateral (
        select count(*) as count
        from milepost.deliveries as d
        where d.webhook_id = w.id and d.state = 'sending' and d.due_at > now()
    ) as under_way
),
ripe as (
    select d.id, d.due_at, d.place,
        row_number() over (partition by h.tenant order by d.place, d.due_at) + h.of_tenant as number
    from hooks as h
    cross join lateral (
        select o.id, o.due_at, row_number() over (order by o.due_at) as place
        from (
            (
                select e.id, e.due_at
                from milepost.deliveries as e
                where e.webhook_id = h.id and e.state in ('pending', 'sending') and e.due_at <= now()
                order by e.due_at
                limit h.room
            )
            union all
            (
                select e.id, e.due_at
                from milepost.deliveries as e
                where h.failing_since is null and h.recovered_at > now() - $5 * interval '1 second'
                    and e.webhook_id = h.id and e.state in ('pending', 'sending') and e.due_at > now()
                    and e.state = 'pending' and e.attempted_at < h.recovered_at
                order by e.due_at
                limit h.room
            )
            order by due_at
            limit h.room
        ) as o
    ) as d
),
locked as (
    select d.id
    from (select r.id, r.due_at from ripe as r where r.number <= $4 order by r.place, r.due_at limit $1) as r
    join milepost.deliveries as d on d.id = r.id
    where d.state in ('pending', 'sending') and d.due_at = r.due_at
    order by d.id
    for no key update of d skip locked
),
taken as (
    update milepost.deliveries as d
    set state = 'sending', attempt = d.attempt + 1, due_at = now() + $2 * interval '1 second', attempted_at = now(),
        begun_at = case when d.attempt = d.begun_attempt then now() else d.begun_at end
    from locked
    where d.id = locked.id
    returning d.*
)
select d.id as delivery, d.webhook_id, d.attempt as number, d.attempt - d.begun_attempt as tries, d.task_id,
    d.created_at as noted_at,
    extract(epoch from now() - d.begun_at)::float8 as tried_s,
    w.url, w.secret, case when w.secret_old_until > now() then w.secret_old end as secret_old,
    t.id, t.tenant, t.type, t.queue, t.root_id, t.labels, t.traceparent, t.created_at, d.epoch,
    coalesce(e.outcome, t.state) as state,
    coalesce(e.attempt, t.attempt) as attempt,
    case when e.epoch is null then t.result end as result,
    case when e.epoch is null then t.error else e.error end as error,
    case when e.epoch is null then t.started_at else e.started_at end as started_at,
    case when e.epoch is null then t.finished_at else e.finished_at end as finished_at
from taken as d
join milepost.webhooks as w on w.id = d.webhook_id
left join milepost.tasks as t on t.id = d.task_id
left join milepost.attempts as e
    on e.task_id = d.task_id and e.epoch = d.epoch and e.ended and t.epoch <> d.epoch
