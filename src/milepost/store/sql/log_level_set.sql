-- Have services log from another level for $3 seconds; 0: from now on as their settings say.
insert into milepost.log_levels (service, level, until)
select service, $2, now() + $3::float8 * interval '1 second' from unnest($1::text[]) as w (service)
on conflict (service) do update set level = excluded.level, until = excluded.until
