update milepost.webhooks as w set deleted_at = now() where w.tenant = $1 and w.id = $2 and w.deleted_at is null
returning w.id
