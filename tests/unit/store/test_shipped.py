"""What migrations may say."""

import re

import pytest

from milepost.store.shipped import CONCURRENTLY, FORMERLY, Migration, Statement, known

FIRST_THAT_MAY_MEET_ROWS = 10
"""Those before were written when nobody had any."""


def _marked(*statements: str) -> Migration:
    return Migration(99, "example", CONCURRENTLY + "why.\n" + ";\n".join(statements) + ";\n")


def test_statements_that_run_one_by_one_are_told_apart_and_say_what_they_build() -> None:
    build = "create unique index concurrently if not exists a on milepost.tasks (id) -- not; here\n where key is null"
    drop = "drop index concurrently if exists milepost.b"
    built = Statement(
        "create unique index concurrently if not exists a on milepost.tasks (id) \n where key is null", "a"
    )
    assert _marked(build, drop).statements() == [built, Statement(drop, None)]


@pytest.mark.parametrize(
    "sql",
    [
        "create index a on milepost.tasks (id)",
        "create index concurrently a on milepost.tasks (id)",
        "drop index milepost.a",
        "alter table milepost.tasks add column a int",
    ],
)
def test_what_is_not_safe_to_run_again_is_refused(sql: str) -> None:
    with pytest.raises(ValueError, match="99_example is marked with '-- concurrently: ' and may not say: "):
        _marked(sql).statements()


@pytest.mark.parametrize("migration", [m for m in known() if m.version >= FIRST_THAT_MAY_MEET_ROWS], ids=str)
def test_no_migration_keeps_others_from_writing_for_as_long_as_their_rows_take(migration: Migration) -> None:
    if migration.concurrent:
        assert migration.statements()
        return
    text = re.sub(r"--.*", "", migration.sql)
    new = set(re.findall(r"create table (?:if not exists )?milepost\.(\w+)", text))
    touched = set(
        re.findall(r"create (?:unique )?index[^;]*? on milepost\.(\w+)", text)
        + re.findall(r"alter table (?:only )?milepost\.(\w+)", text)
        + re.findall(r"(?:^|;)\s*(?:update|delete from) milepost\.(\w+)", text)
    )
    assert touched <= new, f"{migration} holds up who writes to {touched - new}"


def test_what_was_changed_before_it_was_released_is_known_as_both() -> None:
    migrations = {each.version: each for each in known()}
    for version, checksum in FORMERLY.items():
        assert migrations[version].is_applied_as(checksum)
        assert migrations[version].is_applied_as(migrations[version].checksum)
        assert checksum != migrations[version].checksum
    assert not migrations[1].is_applied_as(FORMERLY[10])
