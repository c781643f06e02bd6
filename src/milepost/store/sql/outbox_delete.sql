delete from milepost.outbox as o
using unnest($1::uuid[], $2::int[]) as d (task_id, epoch)
where o.task_id = d.task_id and o.epoch = d.epoch
