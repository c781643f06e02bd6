"""Changes of tasks that take their time in Postgres, so that something can break in the middle of one."""

import itertools

import asyncpg

from milepost.runtime.settings import Settings
from tests.conftest import eventually

_numbers = itertools.count(1)

_SLOW = """
create function milepost.slow_{number}() returns trigger language plpgsql as $$
begin
    if coalesce(current_setting('milepost.slept', true), '') = '' then
        perform set_config('milepost.slept', 'yes', true);
        perform pg_sleep({seconds});
    end if;
    return new;
end $$;
create trigger slow_{number} before update on milepost.tasks for each row
    when ({when}) execute function milepost.slow_{number}();
"""

_ASLEEP = """
select exists (select from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database())
"""


class Slowness:
    """Makes transactions slow, from `begin` on, that change a task so that `when` holds (SQL of `old` and `new`)."""

    def __init__(self, settings: Settings, when: str, seconds: float = 1.0) -> None:
        self._url = settings.database_url.get_secret_value()
        self._sql = _SLOW.format(number=next(_numbers), when=when, seconds=seconds)

    async def begin(self) -> None:
        """From now on."""
        db = await asyncpg.connect(self._url, timeout=10)
        try:
            await db.execute(self._sql)
        finally:
            await db.close()

    async def met(self) -> None:
        """Wait until such a change is under way: asked for, and not answered."""
        db = await asyncpg.connect(self._url, timeout=10)

        async def sleeps() -> bool:
            return bool(await db.fetchval(_ASLEEP))

        try:
            await eventually(sleeps, "a slow statement to be under way")
        finally:
            await db.close()
