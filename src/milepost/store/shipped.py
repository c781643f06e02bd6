"""The migrations this version ships, as text: what they are called, what is in them, whether they changed."""

import hashlib
import re
from importlib.resources import files
from typing import Final, NamedTuple

CONCURRENTLY: Final = "-- concurrently: "
"""How a migration begins whose statements run one by one, outside of a transaction; then why."""
_BUILDS: Final = re.compile(r"create (?:unique )?index concurrently if not exists (\w+)\s+on milepost\.\w+")
_DROPS: Final = re.compile(r"drop index concurrently if exists milepost\.\w+$")
FORMERLY: Final = {
    # Built their indexes themselves, in which time nobody could write; 0014 does now. The tables are the same.
    10: "23daf700707fc2c1ae8b8331d5fda605550e6cd9da5aef8a5e776862d2946030",
    12: "e6cad33d76a8040e24f6c8a01bedca2a6573c3a117a1fa82043cefeb5519a69b",
}
"""Checksums of migrations that were changed before anything was released: who applied them so has nothing to do."""


class Statement(NamedTuple):
    """One statement of a migration that builds or drops indexes concurrently; `builds`: the index, None: none."""

    sql: str
    builds: str | None


class Migration(NamedTuple):
    """One file of `migrations/`."""

    version: int
    name: str
    sql: str

    def __str__(self) -> str:
        return f"{self.version:04d}_{self.name}"

    @property
    def checksum(self) -> str:
        """Of the text: an applied migration must never change."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    def is_applied_as(self, checksum: str) -> bool:
        """Whether a database that keeps this checksum has what the file says."""
        return checksum in {self.checksum, FORMERLY.get(self.version)}

    @property
    def concurrent(self) -> bool:
        """Whether its statements run one by one, outside of a transaction."""
        return self.sql.startswith(CONCURRENTLY)

    def statements(self) -> list[Statement]:
        """Return those of a migration that is `concurrent`.

        Nothing else than `create index concurrently if not exists` and `drop index concurrently if exists` is in it:
        what is run outside of a transaction has to be safe to run again from its beginning. Raises ValueError.
        """
        text = re.sub(r"--.*", "", self.sql)
        return [_statement(self, part.strip()) for part in text.split(";") if part.strip()]


def _statement(migration: Migration, sql: str) -> Statement:
    if building := _BUILDS.match(sql):
        return Statement(sql, building[1])
    if _DROPS.match(sql):
        return Statement(sql, None)
    raise ValueError(f"{migration} is marked with {CONCURRENTLY!r} and may not say: {sql}")


def known() -> list[Migration]:
    """Return every migration this version ships, in order."""
    found = []
    for entry in files("milepost.store").joinpath("migrations").iterdir():
        match = re.fullmatch(r"(\d{4})_(\w+)\.sql", entry.name)
        if match:
            found.append(Migration(int(match[1]), match[2], entry.read_text()))
    return sorted(found)
