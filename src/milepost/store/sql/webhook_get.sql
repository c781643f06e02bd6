select w.* from milepost.webhooks as w where w.tenant = $1 and w.id = $2 and w.deleted_at is null
