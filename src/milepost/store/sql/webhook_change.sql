-- What $3 names is changed, also to null. Who enables a webhook or gives it another URL has it begin anew.
with found as (
    select w.id,
        ('enabled' = any($3) and $9) or ('url' = any($3) and $4 <> w.url) as anew
    from milepost.webhooks as w
    where w.tenant = $1 and w.id = $2 and w.deleted_at is null
    for no key update
)
update milepost.webhooks as w
set url = case when 'url' = any($3) then $4 else w.url end,
    description = case when 'description' = any($3) then $5 else w.description end,
    types = case when 'types' = any($3) then $6::text[] else w.types end,
    states = case when 'states' = any($3) then $7::text[] else w.states end,
    labels = case when 'labels' = any($3) then $8::jsonb else w.labels end,
    disabled_at = case when not 'enabled' = any($3) then w.disabled_at when not $9 then coalesce(w.disabled_at, now()) end,
    disabled_reason = case
        when not 'enabled' = any($3) then w.disabled_reason
        when not $9 then coalesce(w.disabled_reason, 'It was disabled by a request.')
    end,
    failing_since = case when not f.anew then w.failing_since end,
    failures = case when f.anew then 0 else w.failures end,
    last_error = case when not f.anew then w.last_error end,
    recovered_at = case when f.anew then now() else w.recovered_at end
from found as f
where w.tenant = $1 and w.id = f.id
returning w.*
