-- A webhook, unless the tenant has $9 already.
insert into milepost.webhooks (id, tenant, url, description, types, states, labels, secret)
select $1, $2, $3, $4, $5::text[], $6::text[], $7::jsonb, $8
where (select count(*) from milepost.webhooks as w where w.tenant = $2 and w.deleted_at is null) < $9
returning *
