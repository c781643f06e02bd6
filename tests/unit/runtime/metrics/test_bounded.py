"""However many names people make up, a label takes so many values and no more."""

from collections.abc import Iterator

import pytest

from milepost.runtime.metrics import WORKER, Counter, Gauge, Instrument
from milepost.runtime.metrics.bounded import KNOWN_MOST, OPEN, OTHER, STRANGE_MOST, Names


@pytest.fixture
def queues(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    """Names of queues that nobody has used yet; what is declared meanwhile is undeclared after."""
    names, made = Names(), len(Instrument.made)
    monkeypatch.setitem(OPEN, "queue", names)
    yield names
    del Instrument.made[made:]


def series(of: Counter | Gauge) -> dict[str, float]:
    return {
        sample.labels["queue"]: sample.value
        for family in of.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


@pytest.mark.usefixtures("queues")
def test_names_that_were_made_up_count_as_other_beyond_a_bound() -> None:
    counter = Counter("milepost_some_total", "Some.", (WORKER,), ("queue",))
    for number in range(10_000):
        counter.add(1, f"q{number}")
    counted = series(counter)
    assert len(counted) == STRANGE_MOST + 1
    assert counted[OTHER] == 10_000 - STRANGE_MOST
    assert sum(counted.values()) == 10_000
    assert len(counter._children) == STRANGE_MOST, "what counts as other is remembered by nobody"


def test_names_that_are_served_have_places_strangers_cannot_take(queues: Names) -> None:
    for number in range(1_000):
        queues.bounded(f"made-up-{number}")
    queues.reserve(f"served-{number}" for number in range(1_000))
    served = [number for number in range(1_000) if queues.bounded(f"served-{number}") != OTHER]
    assert served == list(range(KNOWN_MOST - STRANGE_MOST))


def test_a_name_that_was_let_in_keeps_its_place(queues: Names) -> None:
    assert queues.bounded("first") == "first"
    queues.reserve(f"served-{number}" for number in range(1_000))
    assert queues.bounded("first") == "first"
    assert queues.bounded("late") == OTHER


@pytest.mark.usefixtures("queues")
def test_a_gauge_that_is_replaced_sums_up_what_counts_as_other_and_forgets_what_is_gone() -> None:
    gauge = Gauge("milepost_depth", "Depth.", (WORKER,), ("queue",))
    gauge.replace({("gone",): 7.0})
    gauge.replace({(f"q{number}",): 1.0 for number in range(100)})
    counted = series(gauge)
    assert "gone" not in counted
    assert counted[OTHER] == 100 - (STRANGE_MOST - 1)
    assert sum(counted.values()) == 100
