"""When a consumer is rebuilt, and above all when it is not."""

from aiokafka import TopicPartition

from milepost.log.standstill import (
    BLIND_PATIENCE_S,
    JOIN_PATIENCE_S,
    LOOK_EVERY_S,
    PATIENCE_S,
    Look,
    Memory,
    judge,
)

ONE, TWO = TopicPartition("work", 0), TopicPartition("work", 1)


def verdicts(*looks: Look) -> list[str | None]:
    """Judge looks one after another."""
    memory, found = Memory(), []
    for look in looks:
        memory, why = judge(memory, look)
        found.append(why)
    return found


def looks(
    seconds: float,
    positions: dict[TopicPartition, int | None] | None = None,
    *,
    end: int | None = 10,
    asks: bool = True,
    joined: bool = True,
    start: float = 0.0,
) -> list[Look]:
    """Return what is seen over so many seconds while nothing moves."""
    seen = []
    at = start
    while at <= start + seconds:
        where = {ONE: 5} if positions is None else positions
        ends = None if end is None else dict.fromkeys(where, end)
        seen.append(Look(at, at if asks else 0.0, joined, where if joined else {}, ends if joined else None))
        at += LOOK_EVERY_S
    return seen


def test_a_consumer_that_is_read_and_gets_nothing_of_its_lag_stands_still() -> None:
    found = verdicts(*looks(PATIENCE_S))
    assert found[-1] == "work/0 stands at 5 of 10 although it is read"
    assert found[:-1] == [None] * (len(found) - 1)


def test_one_partition_may_stand_still_while_others_move() -> None:
    seen = [look._replace(positions={ONE: 5, TWO: int(look.at)}, ends={ONE: 6, TWO: 99}) for look in looks(PATIENCE_S)]
    assert verdicts(*seen)[-1] == "work/0 stands at 5 of 6 although it is read"


def test_a_position_that_was_never_found_stands_still_too() -> None:
    assert verdicts(*looks(PATIENCE_S, {ONE: None}))[-1] is not None


def test_a_consumer_without_lag_does_not_stand_still() -> None:
    assert not any(verdicts(*looks(600, end=5)))
    assert not any(verdicts(*looks(600, {ONE: None}, end=0)))


def test_a_saturated_worker_that_does_not_read_has_no_stuck_consumer() -> None:
    assert not any(verdicts(*looks(3600, asks=False)))


def test_a_slow_consumer_that_moves_does_not_stand_still() -> None:
    seen = [look._replace(positions={ONE: n}, ends={ONE: 999}) for n, look in enumerate(looks(600))]
    assert not any(verdicts(*seen))


def test_a_rebalance_starts_the_wait_again() -> None:
    before = looks(PATIENCE_S - LOOK_EVERY_S)
    during = looks(LOOK_EVERY_S, joined=False, start=100)
    after = looks(PATIENCE_S - LOOK_EVERY_S, start=200)
    assert not any(verdicts(*before, *during, *after))


def test_a_rebalance_may_take_some_session_time_outs_but_not_for_ever() -> None:
    assert not any(verdicts(*looks(JOIN_PATIENCE_S - LOOK_EVERY_S, joined=False)))
    assert verdicts(*looks(JOIN_PATIENCE_S, joined=False))[-1] == "the group gave it no partitions for 60 s"


def test_time_without_a_broker_does_not_count_as_standing_still() -> None:
    before = looks(PATIENCE_S - LOOK_EVERY_S)
    away = looks(BLIND_PATIENCE_S - LOOK_EVERY_S, end=None, start=100)
    after = looks(PATIENCE_S - LOOK_EVERY_S, start=200)
    assert not any(verdicts(*before, *away, *after))


def test_a_client_no_broker_answers_for_long_looks_for_its_brokers_anew() -> None:
    assert verdicts(*looks(BLIND_PATIENCE_S, end=None))[-1] == "no broker answered it for 30 s"
