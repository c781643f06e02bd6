-- Of pairs of a task and a possible ancestor: those in which the second is above the first, in one tenant.
with recursive up as (
    select w.task, w.ancestor, t.parent_id
    from unnest($2::uuid[], $3::uuid[]) as w (task, ancestor)
    join milepost.tasks as t on t.tenant = $1 and t.id = w.task
    union
    select up.task, up.ancestor, t.parent_id
    from up
    join milepost.tasks as t on t.tenant = $1 and t.id = up.parent_id
    where up.parent_id <> up.ancestor
)
select task, ancestor from up where parent_id = ancestor
