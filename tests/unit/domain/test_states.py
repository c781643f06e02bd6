"""The table of legal transitions."""

import re
from importlib.resources import files

import pytest

from milepost.domain.states import TRANSITIONS, Actor, legal, moves
from milepost_schemas import TaskState

SQL = {
    # Deliveries of webhooks have states of their own.
    entry.name: re.sub(r"update milepost\.deliveries.+?where", "", entry.read_text(), flags=re.DOTALL)
    for entry in files("milepost.store").joinpath("sql").iterdir()
}
MOVE = re.compile(r"^-- (\w+): ([\w| ()]+) -> ([\w| ]+?)(?:,|$)", re.MULTILINE)


def _named(text: str) -> set[TaskState | None]:
    return {None if word.strip() == "(new)" else TaskState(word.strip()) for word in text.split("|")}


def _claims() -> list[tuple[str, str, set[TaskState | None], set[TaskState | None]]]:
    return [
        (name, match[1], _named(match[2]), _named(match[3]))
        for name, text in SQL.items()
        for match in MOVE.finditer(text)
    ]


def test_every_statement_that_sets_a_state_says_which_transition_it_makes() -> None:
    writes = {
        name for name, text in SQL.items() if re.search(r"(?:set|,)\s+state = |insert into milepost\.tasks", text)
    }
    assert writes == {name for name, *_ in _claims()}


@pytest.mark.parametrize(("file", "move", "sources", "targets"), _claims())
def test_statements_make_only_transitions_of_the_table(
    file: str, move: str, sources: set[TaskState | None], targets: set[TaskState | None]
) -> None:
    table = {(t.source, t.target) for t in moves(move)}
    assert table, f"{file} names a transition that the table does not have"
    for source in sources:
        for target in targets:
            assert (source, target) in table, f"{file}: {move} may not go from {source} to {target}"


def test_every_transition_of_the_table_is_made_by_some_statement() -> None:
    made = {
        (move, source, target) for _, move, sources, targets in _claims() for source in sources for target in targets
    }
    missing = {(t.name, t.source, t.target) for t in TRANSITIONS} - made
    # A task cannot wait before there are children, timers and signals to wait for.
    assert {m for m in missing if m[1] is not TaskState.WAITING} == set()


def test_epochs_are_bumped_exactly_where_a_task_changes_hands() -> None:
    for transition in TRANSITIONS:
        texts = [text for text in SQL.values() if re.search(rf"^-- {transition.name}:", text, re.MULTILINE)]
        bumping = [t for t in texts if "epoch = t.epoch + 1" in t]
        if transition.bumps:
            assert bumping == texts, transition
    for name in ("finish.sql", "retry.sql", "release.sql", "renew.sql"):
        assert "epoch + 1" not in SQL[name]


def test_workers_write_only_under_their_own_epoch_while_the_task_runs() -> None:
    for name in ("finish.sql", "retry.sql", "release.sql", "renew.sql"):
        assert re.search(r"t\.epoch = \w\.epoch and t\.state \|\| '' = 'running'", SQL[name]), name


def test_only_a_person_takes_a_task_out_of_a_terminal_state_and_never_out_of_success() -> None:
    leaving = [t for t in TRANSITIONS if t.source is not None and t.source.terminal]
    assert {(t.name, t.actor, t.bumps) for t in leaving} == {("replay", Actor.API, True)}
    assert TaskState.SUCCEEDED not in {t.source for t in leaving}


def test_a_task_cannot_skip_the_claim() -> None:
    assert legal(TaskState.QUEUED, TaskState.RUNNING)
    assert not legal(TaskState.QUEUED, TaskState.SUCCEEDED)
    assert not legal(TaskState.SCHEDULED, TaskState.RUNNING)
    assert legal(None, TaskState.QUEUED)
    assert not legal(None, TaskState.RUNNING)
