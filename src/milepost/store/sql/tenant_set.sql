-- Set the quotas of a tenant, and make it if it is new.
insert into milepost.tenants (name, requests, requests_per, queued, queued_bytes)
values ($1, $2, $3, $4, $5)
on conflict (name) do update
set requests = excluded.requests, requests_per = excluded.requests_per, queued = excluded.queued,
    queued_bytes = excluded.queued_bytes, changed_at = now()
returning name, created_at, requests, requests_per, queued, queued_bytes
