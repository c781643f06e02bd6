"""What is kept of what a handler logs."""

from typing import Any

import orjson
import structlog
from hypothesis import given
from hypothesis import strategies as st

from milepost.tasks.loglines import (
    BURST_LINES,
    CHARS,
    FIELDS,
    LINES_A_SECOND,
    MESSAGE_CHARS,
    NAME_CHARS,
    VALUE_CHARS,
    HandlerLog,
    LogLine,
    log_line,
)
from milepost_worker.execution.wire import BOUNDS, HEAD, Kind, json_frame

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.decimals()
    | st.fractions()
    | st.dates()
    | st.uuids(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(anything, anything, st.dictionaries(st.text(max_size=100), anything, max_size=50))
def test_every_line_fits_its_bounds_its_frame_and_one_line_of_a_log(
    level: Any, message: Any, fields: dict[str, Any]
) -> None:
    line = log_line(level, message, fields)
    assert line.level in {"debug", "info", "warning", "error"}
    assert len(line.message) <= MESSAGE_CHARS
    assert len(line.fields) <= FIELDS + 1
    assert all(len(name) <= NAME_CHARS for name in line.fields)
    assert line.message.replace("\t", "").isprintable()
    frame = json_frame(Kind.LOG, tuple(line))
    assert len(frame) - HEAD.size <= BOUNDS[Kind.LOG]
    assert orjson.loads(frame[HEAD.size :]) == list(line)
    assert log_line(*line) == line
    for renderer in (structlog.processors.JSONRenderer(), structlog.dev.ConsoleRenderer(colors=False)):
        shown = renderer(None, "info", {"event": line.message, "fields": line.fields})
        assert len(str(shown).splitlines()) <= 1


def test_the_largest_line_fits_its_frame() -> None:
    for character in ('"', "\n", "\U0001f600"):
        line = log_line("info", character * 10**5, {f"{n}{character * 200}": character * 10**5 for n in range(100)})
        assert len(json_frame(Kind.LOG, tuple(line))) - HEAD.size <= BOUNDS[Kind.LOG]


def test_what_is_too_long_is_cut_and_says_so() -> None:
    line = log_line("info", "m" * 9000, {"short": "s", "long": "l" * 9000, "n" * 100: 1})
    assert line.message == "m" * (MESSAGE_CHARS - 1) + "…"
    assert line.fields["long"] == "l" * (VALUE_CHARS - 1) + "…"
    assert line.fields["n" * (NAME_CHARS - 1) + "…"] == 1
    many = log_line("info", "", {str(n): "v" * 9000 for n in range(FIELDS)})
    assert sum(len(str(value)) for value in many.fields.values()) <= CHARS
    assert many.fields["…"] == FIELDS - len(many.fields) + 1


def test_numbers_stay_numbers_and_what_json_cannot_carry_is_text() -> None:
    fields = {"i": 2**62, "f": 0.5, "b": True, "n": None, "big": 2**63, "inf": float("inf"), "list": [1]}
    assert log_line("info", "", fields).fields == fields | {"big": str(2**63), "inf": "inf", "list": "[1]"}


def test_names_of_other_loggers_levels_are_understood() -> None:
    assert [log_line(each, "", {}).level for each in ("critical", "warn", 40, None)] == [
        "error",
        "warning",
        "info",
        "info",
    ]


def test_so_many_lines_pass_at_once_and_a_second_and_the_rest_is_told_in_one_line() -> None:
    now = 0.0
    lines: list[LogLine] = []
    log = HandlerLog(lines.append, lambda: now)
    for _ in range(BURST_LINES + 70):
        log.add("info", "x", {})
    assert len(lines) == BURST_LINES
    now = 1.0
    for _ in range(100):
        log.add("info", "y", {})
    assert len(lines) == BURST_LINES + LINES_A_SECOND
    log.close()
    log.add("info", "too late", {})
    log.close()
    assert lines[-1].fields == {"lines": 70 + 100 - LINES_A_SECOND}
    assert [line.level for line in lines].count("warning") == 1


def test_a_sink_that_fails_costs_lines_and_nothing_else() -> None:
    def broken(_line: LogLine) -> None:
        raise OSError("gone")

    log = HandlerLog(broken)
    log.add("info", "x", {})
    log.add("info", "y", {})
    assert log.take_left_out() == 2
    log.close()


def test_a_line_that_is_logged_in_the_middle_of_another_passes() -> None:
    lines: list[LogLine] = []
    log = HandlerLog(lines.append)

    class Talks:
        def __str__(self) -> str:
            log.add("info", "inner", {})
            return "outer"

    log.add("info", Talks(), {})
    assert [line.message for line in lines] == ["inner", "outer"]
