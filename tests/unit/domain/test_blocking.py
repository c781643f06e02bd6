"""What follows when a loop does not turn."""

from milepost.domain.blocking import LEFT_AFTER_S, NAMED_AFTER_S, LoopWatch, Step

TICK = 0.25
LIMIT = 10.0
END = LIMIT + LEFT_AFTER_S


def _looks(watch: LoopWatch, start: float, seconds: float, limit: float = LIMIT) -> list[tuple[float, Step]]:
    """Look for so long without an answer; return what was to be done, and when."""
    steps = []
    for n in range(1, int(seconds / TICK) + 1):
        now = start + n * TICK
        watch.asks(now)
        step = watch.look(now, limit, END)
        if step is not None:
            steps.append((now - start, step))
    return steps


def _watch() -> LoopWatch:
    watch = LoopWatch(TICK, 0.0)
    assert watch.asks(0.0)
    return watch


def test_a_loop_that_answers_is_left_alone() -> None:
    watch = _watch()
    for n in range(1, 200):
        watch.answered()
        assert watch.asks(n * TICK)
        assert watch.look(n * TICK, LIMIT, END) is None


def test_a_blocked_loop_is_named_then_parted_from_its_task_then_ended_each_once() -> None:
    assert _looks(_watch(), 0.0, 60.0) == [
        (NAMED_AFTER_S, Step.NAME),
        (LIMIT, Step.GIVE_UP),
        (END, Step.END),
    ]


def test_a_task_whose_own_time_is_over_is_given_up_before_but_the_process_lives_as_long() -> None:
    assert _looks(_watch(), 0.0, 60.0, limit=3.0) == [(NAMED_AFTER_S, Step.NAME), (3.0, Step.GIVE_UP), (END, Step.END)]


def test_a_loop_that_turned_again_starts_anew() -> None:
    watch = _watch()
    assert [step for _, step in _looks(watch, 0.0, LIMIT + 1)] == [Step.NAME, Step.GIVE_UP]
    watch.answered()
    watch.asks(20.0)
    watch.look(20.0, LIMIT, END)
    assert _looks(watch, 20.0, LIMIT + 1) == [(NAMED_AFTER_S, Step.NAME), (LIMIT, Step.GIVE_UP)]


def test_a_process_that_was_stopped_blames_nobody() -> None:
    watch = _watch()
    watch.look(TICK, LIMIT, END)
    assert watch.look(TICK + 60.0, LIMIT, END) is None
    assert watch.blocked_s(TICK + 60.0) < 1.0
