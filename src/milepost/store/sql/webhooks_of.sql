select w.* from milepost.webhooks as w where w.tenant = $1 and w.deleted_at is null order by w.id
