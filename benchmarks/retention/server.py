"""What a turn cost Postgres, by its own books."""

from dataclasses import dataclass
from typing import Any, Self

_BOOKS = """
select
    (select wal_bytes from pg_stat_wal)::float8 as wal_bytes,
    (select wal_fpi from pg_stat_wal) as pages,
    (select num_done from pg_stat_checkpointer) as checkpoints,
    (select sum(autovacuum_count) from pg_stat_user_tables)::int as vacuums
"""
_SIZES = """
select c.relname as name, pg_relation_size(c.oid) as bytes, s.n_live_tup as live, s.n_dead_tup as dead
from pg_class as c
left join pg_stat_user_tables as s on s.relid = c.oid
where c.relnamespace = 'milepost'::regnamespace
    and c.relname in ('tasks', 'tasks_pkey', 'tasks_ended', 'tasks_by_tenant', 'attempts')
order by c.relname
"""


@dataclass(frozen=True, slots=True)
class Books:
    """WAL written (MB), pages in full in it, checkpoints and autovacuums done."""

    wal_mb: float
    pages: int
    checkpoints: int
    vacuums: int

    @classmethod
    async def read(cls, database: Any) -> Self:
        """Return them as they stand."""
        wal_bytes, pages, checkpoints, vacuums = (await database.fetchrow(_BOOKS)).values()
        return cls(round(wal_bytes / 1e6, 1), pages, checkpoints, vacuums)

    def since(self, before: "Books") -> "Books":
        """Return what came between."""
        return Books(
            round(self.wal_mb - before.wal_mb, 1),
            self.pages - before.pages,
            self.checkpoints - before.checkpoints,
            self.vacuums - before.vacuums,
        )

    def text(self) -> str:
        """Return it for people."""
        return f"{self.wal_mb:,.1f} MB, {self.pages:,} pages, {self.checkpoints} / {self.vacuums}"


async def sizes(database: Any) -> dict[str, dict[str, Any]]:
    """Return bytes, and rows live and dead (None: an index), of the tables and indexes it is about."""
    return {row["name"]: dict(row.items()) for row in await database.fetch(_SIZES)}


def sizes_text(found: dict[str, dict[str, Any]]) -> str:
    """Return them for people."""
    return ", ".join(
        f"{name} {row['bytes'] / 2**20:,.0f} MiB"
        + ("" if row["live"] is None else f" ({row['live']:,} rows, {row['dead']:,} dead)")
        for name, row in found.items()
    )
