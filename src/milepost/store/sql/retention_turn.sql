-- Ours to go on from, until the transaction ends; nothing if somebody else has it or it is too early.
select failed, queue, finished_at, id from milepost.retention_pass where next_at <= now() for no key update skip locked
