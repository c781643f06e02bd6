-- Under what epoch some tasks ran before, each before the epoch named with it. Asked for traces alone, of tasks that ran
-- before or were scheduled.
select w.id, max(a.epoch) as before
from unnest($1::uuid[], $2::int[]) as w (id, epoch)
join milepost.attempts as a on a.task_id = w.id and a.epoch < w.epoch
where a.worker is not null
group by w.id
