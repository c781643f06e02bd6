"""What counts as a take-over in a soak: made-up histories of one task, whose worker is lost at second 0."""

from uuid import UUID

from milepost.audit.facts import Facts, Mark, Move
from tests.soak.happened import Happened, Hit
from tests.soak.take_overs import TakeOver, take_overs

TASK = UUID(int=1)
FIRST, SECOND = UUID(int=11), UUID(int=12)
PID, OTHER_PID = 101, 102
DAY_S = 1_000_000.0
"""Of the machine's clock at 0. Histories tell the seconds since the loss, which is `LOST` by that clock."""
LOST = 500.0
EVERY_S = 0.2


def day(at: float) -> float:
    return DAY_S + LOST + at


def move(at: float, source: str | None, target: str, epoch: tuple[int, int], worker: UUID | None = FIRST) -> Move:
    attempt = int(target == "running")
    return Move(source, target, *epoch, 0, attempt, 3, "milepost-worker", worker, day(at))


def fault(name: str, began: float, mended: float, worker: int | None = 0, pid: int = PID) -> Happened:
    return Happened(name, day(began), day(mended), [] if worker is None else [Hit(worker, pid, day(began))])


def cut_off(mended: float) -> Happened:
    return fault("worker cut off", 0, mended)


def history(*rest: Move, seen: float | None) -> Facts:
    """Return a task that was claimed two seconds before the loss, and whose handler was at work until `seen`."""
    facts = Facts()
    facts.moves = {TASK: [move(-3, None, "queued", (0, 0), None), move(-2, "queued", "running", (0, 1)), *rest]}
    facts.diary[TASK] = [Mark(1, LOST - 2, "begin", PID, EVERY_S)]
    if seen is not None:
        facts.diary[TASK].append(Mark(1, LOST + seen, "alive", PID, EVERY_S))
    return facts


def taken(at: float, again: float) -> tuple[Move, Move]:
    return move(at, "running", "queued", (1, 2)), move(again, "queued", "running", (2, 3), SECOND)


def found(facts: Facts, *happened: Happened) -> list[TakeOver]:
    return take_overs(happened, facts, DAY_S)


def shown(overs: list[TakeOver]) -> list[tuple[str, float, bool, bool]]:
    return [(over.kind, round(over.seconds, 3), over.kept, over.hindered) for over in overs]


def test_a_killed_workers_task_is_counted_until_it_runs_again() -> None:
    facts = history(*taken(2.2, 2.4), seen=-0.1)
    assert shown(found(facts, fault("worker killed", 0, 5))) == [("killed", 2.4, False, False)]


def test_what_its_own_worker_ended_or_released_was_not_taken_over() -> None:
    killed = fault("worker killed", 0, 5)
    assert not found(history(move(1, "running", "succeeded", (1, 1)), seen=None), killed)
    released = move(1, "running", "queued", (1, 1)), move(2, "queued", "running", (1, 2), SECOND)
    assert not found(history(*released, seen=None), killed)


def test_what_another_worker_runs_is_not_counted() -> None:
    facts = history(*taken(2.2, 2.4), seen=None)
    assert not found(facts, fault("worker killed", 0, 5, worker=1, pid=OTHER_PID))


def test_what_was_claimed_after_the_loss_or_taken_before_it_is_not_counted() -> None:
    facts = history(*taken(2.2, 2.4), seen=None)
    earlier = UUID(int=2)
    assert facts.moves is not None
    facts.moves[earlier] = [move(-9, None, "queued", (0, 0), None), move(-8, "queued", "running", (0, 1))]
    facts.diary[earlier] = [Mark(1, LOST - 8, "begin", PID, EVERY_S)]
    assert not found(facts, fault("worker cut off", -5, -1))
    assert not found(facts, fault("worker killed", 3, 5))


def test_a_worker_that_went_on_is_no_take_over_and_what_takes_the_task_later_is() -> None:
    facts = history(*taken(11.3, 11.5), seen=8.9)
    overs = found(facts, cut_off(5), fault("worker killed", 9, 12))
    assert shown(overs) == [("cut off", 11.5, True, False), ("killed", 2.5, False, False)]


def test_a_worker_that_went_on_until_postgres_was_away_is_none_either() -> None:
    facts = history(*taken(22, 22.2), seen=17)
    overs = found(facts, cut_off(5), fault("postgres killed", 9, 12, worker=None))
    assert shown(overs) == [("cut off", 22.2, True, True)]


def test_a_worker_that_went_on_for_longer_than_a_lease_had_renewed_it() -> None:
    """Its handler ended, and the answer to the write of its outcome never came; then the worker was killed."""
    facts = history(*taken(32, 32.2), seen=25)
    overs = found(facts, cut_off(5), fault("worker killed", 30, 33))
    assert shown(overs) == [("cut off", 32.2, True, False), ("killed", 2.2, False, False)]


def test_one_that_had_let_go_is_counted_though_a_late_renewal_kept_others_away() -> None:
    """Decision 20: stopped at 10 s, the line back at 12, a renewal of before delivered, a lease until 27."""
    facts = history(*taken(27.6, 28.3), seen=10)
    assert shown(found(facts, cut_off(12))) == [("cut off", 28.3, False, False)]


def test_one_that_had_let_go_is_counted_though_something_else_took_the_task_in_the_end() -> None:
    facts = history(*taken(24, 24.3), seen=10)
    overs = found(facts, cut_off(12), fault("worker killed", 21.5, 25))
    assert ("cut off", 24.3, False, False) in shown(overs)


def test_one_that_had_let_go_right_after_the_line_was_back_is_counted() -> None:
    """It had no answer to a renewal before it had to stop the handler."""
    facts = history(*taken(24, 24.3), seen=10)
    overs = found(facts, cut_off(9.5), fault("worker stopped", 12, 13))
    assert shown(overs) == [("cut off", 24.3, False, False)]


def test_one_that_something_hit_right_after_the_line_was_back_need_not_have_gone_on() -> None:
    facts = history(*taken(12, 12.3), seen=9.8)
    overs = found(facts, cut_off(9.9), fault("worker killed", 10.2, 13))
    assert ("cut off", 12.3, False, False) in shown(overs)


def test_what_happened_while_the_worker_was_away_is_not_why_its_task_was_taken_later() -> None:
    facts = history(*taken(24, 24.2), seen=9)
    overs = found(facts, cut_off(8), fault("postgres killed", 3, 5, worker=None))
    assert shown(overs) == [("cut off", 24.2, False, True)]


def test_what_is_taken_from_a_worker_that_went_on_for_no_reason_is_counted() -> None:
    facts = history(*taken(40, 40.2), seen=39.9)
    assert shown(found(facts, cut_off(5))) == [("cut off", 40.2, False, False)]
    elsewhere = fault("worker killed", 30, 33, worker=1, pid=OTHER_PID)
    assert shown(found(facts, cut_off(5), elsewhere)) == [("cut off", 40.2, False, False)]


def test_one_that_nobody_was_left_to_take_over_is_told_apart() -> None:
    facts = history(*taken(21, 21.3), seen=10)
    (over,) = found(facts, cut_off(25), fault("postgres restarted", 14, 16, worker=None))
    assert shown([over]) == [("cut off", 21.3, False, True)]
    assert [str(fault) for fault in over.met] == ["postgres restarted"]
    after = fault("postgres restarted", 21.5, 23, worker=None)
    assert shown(found(facts, cut_off(25), after)) == [("cut off", 21.3, False, False)]


def test_a_zombies_marks_after_its_task_was_taken_do_not_make_it_an_owner() -> None:
    facts = history(*taken(15.5, 15.7), seen=20)
    over, *_ = found(facts, fault("worker paused past its lease", 0, 14), fault("worker killed", 15, 22))
    assert shown([over]) == [("paused", 15.7, False, False)]


def test_a_task_that_the_sweep_ended_is_counted_until_then() -> None:
    facts = history(move(2.2, "running", "cancelled", (1, 2)), seen=None)
    assert shown(found(facts, fault("worker killed", 0, 5))) == [("killed", 2.2, False, False)]


def test_an_attempt_that_is_given_back_still_runs() -> None:
    facts = history(move(1, "running", "running", (1, 1)), *taken(2.2, 2.4), seen=None)
    assert shown(found(facts, fault("worker killed", 0, 5))) == [("killed", 2.4, False, False)]


def test_a_process_is_the_worker_that_had_its_pid_then() -> None:
    facts = history(*taken(2.2, 2.4), seen=None)
    later = UUID(int=2)
    assert facts.moves is not None
    facts.moves[later] = [move(60, None, "queued", (0, 0), None), move(61, "queued", "running", (0, 1), SECOND)]
    facts.diary[later] = [Mark(1, LOST + 61, "begin", PID, EVERY_S)]
    assert [over.task for over in found(facts, fault("worker killed", 0, 5))] == [TASK]
