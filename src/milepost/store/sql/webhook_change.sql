-- What $3 names is changed, also to null. Who enables a webhook has it begin anew.
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
    failing_since = case when 'enabled' = any($3) and $9 then null else w.failing_since end,
    failures = case when 'enabled' = any($3) and $9 then 0 else w.failures end,
    last_error = case when 'enabled' = any($3) and $9 then null else w.last_error end,
    recovered_at = case when 'enabled' = any($3) and $9 then now() else w.recovered_at end
where w.tenant = $1 and w.id = $2 and w.deleted_at is null
returning *
