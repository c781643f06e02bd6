-- What ends while a webhook is disabled is noted and not sent: its owner finds it in the log, and may replay it.
create or replace function milepost.note_deliveries() returns trigger language plpgsql as $$
begin
    if exists (select from milepost.webhooks as w where w.deleted_at is null) then
        insert into milepost.deliveries (webhook_id, tenant, task_id, epoch, state, ended_at, error)
        select w.id, t.tenant, t.id, n.epoch,
            case when w.disabled_at is null then 'pending' else 'failed' end,
            case when w.disabled_at is not null then now() end,
            case when w.disabled_at is not null then 'The webhook was disabled when the task ended. Nothing was sent.' end
        from noted as n
        join milepost.tasks as t on t.id = n.task_id and t.epoch = n.epoch
        join milepost.webhooks as w on w.tenant = t.tenant and w.deleted_at is null
        where (w.types is null or t.type = any(w.types))
            and (w.states is null or t.state = any(w.states))
            and (w.labels is null or t.labels @> w.labels)
        on conflict do nothing;
    end if;
    return null;
end
$$;

-- What is noted from an instant on has no smaller id than this one; none before 1970.
create function milepost.first_id(at timestamptz) returns uuid language sql stable parallel safe as $$
    select (
        lpad(to_hex(greatest(0, (extract(epoch from at) * 1000)::bigint)), 12, '0') || '00000000000000000000'
    )::uuid
$$;
