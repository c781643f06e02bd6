insert into milepost.deliveries (webhook_id, tenant)
select w.id, w.tenant from milepost.webhooks as w where w.tenant = $1 and w.id = $2 and w.deleted_at is null
returning *, null::text as type, null::text as outcome
