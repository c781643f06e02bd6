-- A task that was replayed is not cancelled any more. The replay takes its note away, but not one of a second cancel that
-- was under way at that moment. Whoever cancels it now is waited for, and then its note is a good one.
with replayed as (
    select t.id
    from milepost.tasks as t
    where t.id = $1 and t.cancel_requested_at is null and t.state || '' not in ('succeeded', 'failed', 'cancelled')
    for no key update
)
delete from milepost.cancellations where task_id in (select id from replayed)
