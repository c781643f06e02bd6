-- A new secret; the one before it signs besides for $4 seconds, none if that is 0.
update milepost.webhooks as w
set secret = $3, secret_old = case when $4::float8 > 0 then w.secret end,
    secret_old_until = case when $4 > 0 then now() + $4 * interval '1 second' end
where w.tenant = $1 and w.id = $2 and w.deleted_at is null
returning *
