"""How many hints may be on their way, by what one process knows."""

from hypothesis import given
from hypothesis import strategies as st

from milepost.domain.window import FLOOR, KEPT, TIMES, Account, window


def submitted(account: Account[int], count: int, first: int = 0) -> list[int]:
    """Have so many hints asked for; return those that may go."""
    return [n for n in range(first, first + count) if account.admits(n)]


def told(account: Account[int], queued: int, slots: int = 1) -> list[int]:
    account.asked()
    return account.told(min(queued, window(slots)), slots)


def test_the_window_is_a_small_multiple_of_the_slots() -> None:
    assert window(1) == FLOOR
    assert window(10_000) == TIMES * 10_000


def test_hints_go_until_the_window_is_full_and_are_withheld_then() -> None:
    account: Account[int] = Account()
    assert submitted(account, FLOOR + 10) == list(range(FLOOR))
    assert account.withholds


def test_room_is_asked_for_before_it_runs_out() -> None:
    account: Account[int] = Account()
    submitted(account, FLOOR // 2)
    assert not account.low
    submitted(account, 1)
    assert account.low
    assert told(account, 0) == []
    assert not account.low


def test_what_is_withheld_goes_when_there_is_room_again_and_only_as_much_as_still_waits() -> None:
    account: Account[int] = Account()
    submitted(account, FLOOR + 10)
    assert told(account, FLOOR) == [], "nothing while as many wait"
    assert told(account, 3) == [FLOOR + 7, FLOOR + 8, FLOOR + 9], "older ones have been taken"
    assert not account.withholds
    assert len(submitted(account, FLOOR)) == FLOOR - 3


def test_the_newest_may_go_without_room_and_says_that_others_wait() -> None:
    account: Account[int] = Account()
    submitted(account, FLOOR + 3)
    assert told(account, FLOOR) == []
    assert [account.newest() for _ in range(3)] == [FLOOR + 2, FLOOR + 1, FLOOR]
    assert not account.withholds
    assert account.pressed


def test_what_was_taken_meanwhile_is_forgotten() -> None:
    account: Account[int] = Account()
    submitted(account, FLOOR + 10)
    assert told(account, 0) == []
    assert not account.withholds


def test_what_is_submitted_while_the_answer_is_on_its_way_counts() -> None:
    account: Account[int] = Account()
    submitted(account, FLOOR - 1)
    account.asked()
    submitted(account, 5)
    account.told(FLOOR - 6, 1)
    assert len(submitted(account, 10)) == 1


def test_the_window_grows_and_shrinks_with_the_slots() -> None:
    account: Account[int] = Account()
    assert told(account, FLOOR, slots=FLOOR) == []
    assert len(submitted(account, 2 * FLOOR)) == FLOOR
    assert told(account, 0, slots=1) == []
    assert len(submitted(account, 2 * FLOOR)) == FLOOR


def test_hints_say_so_before_others_are_withheld() -> None:
    account: Account[int] = Account()
    submitted(account, 3 * FLOOR // 4)
    assert not account.pressed
    submitted(account, 1)
    assert account.pressed
    told(account, 0)
    assert not account.pressed


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 900), st.integers(0, 400)), max_size=20))
def test_memory_is_bounded_and_no_hint_goes_twice(steps: list[tuple[int, int, int]]) -> None:
    account: Account[int] = Account()
    gone: list[int] = []
    number = 0
    for count, queued, slots in steps:
        gone += submitted(account, count, number)
        number += count
        gone += told(account, queued, slots)
        assert len(account._withheld) <= max(KEPT, account.size)
    assert len(gone) == len(set(gone))
