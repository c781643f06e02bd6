-- Another value than before: limits have changed. Each process asks every second.
select version from milepost.limits_version
