"""How progress reads."""

import dataclasses
import io
import json
from typing import Any
from uuid import UUID

import pytest
from rich.console import Console

from milepost.cli.output import number, progress_text, span
from milepost.cli.show.bars import Bars
from milepost.cli.show.lines import JsonLines, Lines
from milepost.client import RunEvent
from milepost_schemas.position import Position
from milepost_schemas.queue import Explanation, Reason
from milepost_schemas.task import Progress, TaskState

ID = "01941f29-7c00-7d3e-8a5b-0242ac120002"


def event(kind: str, seq: int, state: str = "running", **members: Any) -> RunEvent:
    view = {
        "id": ID,
        "type": "demo.count",
        "queue": "default",
        "priority": "normal",
        "state": state,
        "attempt": 1,
        "max_attempts": 3,
        "epoch": 1,
        "root_id": ID,
        "created_at": "2026-01-01T00:00:00Z",
        "started_at": "2026-01-01T00:00:01Z",
        "finished_at": "2026-01-01T00:00:03.500Z" if state in {"succeeded", "failed"} else None,
        **members,
    }
    return RunEvent(kind, Position(1, seq), view)


def reached(done: float) -> dict[str, Any]:
    return {"done": done, "total": 4, "unit": "files", "rate": 2, "eta": (4 - done) / 2, "message": "src/\x1b[31m"}


STORY = [
    event("snapshot", 0, "queued"),
    event("started", 1),
    event("progress", 2, progress=reached(1)),
    event("progress", 3, progress=reached(2)),
    event("log", 4),
    event("succeeded", 5, "succeeded", progress=reached(4), result=7),
]


def test_lines_say_each_change_once_and_progress_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    with Lines(clock=lambda: 0.0) as view:
        for one in STORY:
            view.event(one)
    assert capsys.readouterr().out.splitlines() == [
        "demo.count ac120002: queued",
        "demo.count ac120002: running",
        "demo.count ac120002: 1/4 files, 25%, 2 files/s, 1.5 s left, src/�[31m",
        "demo.count ac120002: succeeded after 2.5 s (4/4 files)",
    ]


def waiting(reason: Reason, detail: str) -> Explanation:
    return Explanation(task=UUID(ID), state=TaskState.QUEUED, reason=reason, detail=detail)


WAITS = [
    waiting(Reason.IN_LINE, "2 tasks come before it."),
    waiting(Reason.IN_LINE, "1 task comes before it."),
    waiting(Reason.NO_WORKER, "No live worker\x1b[31m."),
]


def test_lines_say_once_for_each_reason_why_a_task_stays_queued(capsys: pytest.CaptureFixture[str]) -> None:
    with Lines() as view:
        view.event(STORY[0])
        for why in WAITS:
            view.waits(STORY[0].task, why)
    assert capsys.readouterr().out.splitlines() == [
        "demo.count ac120002: queued",
        "demo.count ac120002: 2 tasks come before it.",
        "demo.count ac120002: No live worker�[31m.",
    ]


def test_bars_say_why_a_task_stays_queued() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=110, color_system=None)
    with Bars(console) as view:
        view.waits(STORY[0].task, WAITS[0])  # before anything was heard of it
        view.event(STORY[0])
        for why in WAITS:
            view.waits(STORY[0].task, why)
    assert isinstance(console.file, io.StringIO)
    written = console.file.getvalue()
    assert written.count("demo.count ac120002: 2 tasks come before it.") == 1
    assert "demo.count ac120002: No live worker�[31m." in written


def test_json_is_every_event_as_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with JsonLines() as view:
        for one in STORY:
            view.event(one)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["kind"] for row in rows] == [one.kind for one in STORY]
    assert rows[-1]["task"]["result"] == 7
    assert rows[-1]["at"] == [1, 5]


def test_bars_end_with_how_it_ended() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=110, color_system=None)
    with Bars(console) as view:
        for one in STORY:
            view.event(one)
    assert isinstance(console.file, io.StringIO)
    written = console.file.getvalue()
    assert "✓ succeeded after 2.5 s" in written
    assert "4/4 files" in written
    assert "\x1b[31m" not in written


def test_a_failure_says_why_and_at_which_attempt(capsys: pytest.CaptureFixture[str]) -> None:
    error = {"type": "RuntimeError", "message": "no\nluck"}
    with Lines() as view:
        view.event(event("failed", 9, "failed", error=error, attempt=3))
    assert capsys.readouterr().out == "demo.count ac120002: failed after 2.5 s (attempt 3 of 3): no luck\n"


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        (Progress(done=0), "0"),
        (Progress(done=5, unit="files"), "5 files"),
        (Progress(done=0, total=0), "0/0"),
        (Progress(done=9, total=3, rate=1), "9/3, 100%"),
        (
            Progress(done=1200, total=4800, unit="B", rate=12.34, eta=291.7),
            "1,200/4,800 B, 25%, 12.3 B/s, 4 min 52 s left",
        ),
    ],
)
def test_progress_in_words(progress: Progress, words: str) -> None:
    assert progress_text(progress) == words


def test_numbers_and_durations_have_the_digits_one_reads() -> None:
    assert [number(x) for x in (3.0, 0.123, 12.345, 1e6)] == ["3", "0.12", "12.3", "1,000,000"]
    assert [span(x) for x in (0.44, 59, 61, 7500)] == ["0.4 s", "59 s", "1 min 1 s", "2 h 5 min"]


def said(kind: str, seq: int, data: dict[str, Any]) -> RunEvent:
    return dataclasses.replace(event(kind, seq), data=data)


SPEECH = [
    event("snapshot", 0),
    said("log", 1, {"level": "info", "message": "opened", "fields": {"rows": 3}}),
    said("output", 2, {"channel": "out", "chunk": "one\ntw"}),
    said("log", 3, {"level": "warning", "message": "odd \x1b[2J", "fields": {}}),
    said("output", 4, {"channel": "out", "chunk": "o\nthree"}),
    said("output", 5, {"channel": "out", "chunk": " and a half", "left_out": 1234}),
    event("succeeded", 6, "succeeded"),
]
SPOKEN = [
    "demo.count ac120002: opened rows=3",
    "demo.count ac120002 out: one",
    "demo.count ac120002: warning: odd �[2J",
    "demo.count ac120002 out: two",
    "demo.count ac120002 out: three",
    "demo.count ac120002 out: (1,234 characters were left out)",
    "demo.count ac120002 out:  and a half",
]


def test_what_tasks_stream_is_shown_by_lines_if_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    for logs in (True, False):
        with Lines(clock=lambda: 0.0, logs=logs) as view:
            for one in SPEECH:
                view.event(one)
        shown = capsys.readouterr().out.splitlines()
        assert [line for line in shown if line in SPOKEN] == (SPOKEN if logs else [])
        assert shown[0] == "demo.count ac120002: running"
        assert shown[-1].startswith("demo.count ac120002: succeeded")


def test_bars_show_what_tasks_stream_above_them() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=110, color_system=None)
    with Bars(console, logs=True) as view:
        for one in SPEECH:
            view.event(one)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert all(line in shown for line in SPOKEN)


def test_output_without_line_breaks_is_shown_after_a_moment_and_broken_when_long(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = 0.0
    with Lines(clock=lambda: now, logs=True) as view:
        view.event(said("output", 1, {"channel": "out", "chunk": "How can I help?"}))
        view.tick()
        assert capsys.readouterr().out == ""
        now = 3.0
        view.tick()
        assert capsys.readouterr().out == "demo.count ac120002 out: How can I help?\n"
        view.event(said("output", 2, {"channel": "out", "chunk": "word " * 100}))
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 3
        assert all(line.endswith("word ") for line in lines)


def test_a_silence_is_told_once_and_again_when_it_is_twice_as_long(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    with Lines(clock=lambda: now) as view:
        view.event(dataclasses.replace(event("snapshot", 1), age=10.0))
        capsys.readouterr()
        told = []
        for second in range(60):
            now = float(second)
            view.tick()
            told += [(second, line) for line in capsys.readouterr().out.splitlines()]
        assert told == [
            (5, "demo.count ac120002: no news for 15 s"),
            (20, "demo.count ac120002: no news for 30 s"),
            (50, "demo.count ac120002: no news for 1 min 0 s"),
        ]
        view.event(dataclasses.replace(event("progress", 2), age=0.0))
        view.tick()
        assert "no news" not in capsys.readouterr().out


def test_tasks_that_wait_are_not_told_to_be_silent(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    with Lines(clock=lambda: now) as view:
        view.event(event("snapshot", 1, "queued"))
        now = 1000.0
        view.tick()
    assert "no news" not in capsys.readouterr().out


def test_bars_count_down_and_tell_a_silence() -> None:
    now = 0.0
    console = Console(file=io.StringIO(), force_terminal=True, width=150, color_system=None)
    assert isinstance(console.file, io.StringIO)
    with Bars(console, clock=lambda: now) as view:
        told = {"done": 1, "total": 4, "unit": "files", "rate": 0.1, "eta": 100}
        view.event(dataclasses.replace(event("progress", 1, progress=told), age=0.0))
        view._progress.refresh()
        assert "1 min 40 s left" in console.file.getvalue()
        now = 20.0
        view.tick()
        view._progress.refresh()
        assert "no news for 20 s" in console.file.getvalue()
        assert "1 min 20 s left" in console.file.getvalue()


def test_nothing_a_task_says_steers_the_terminal() -> None:
    nasty = "files\x1b[2J\n\x9b31m"
    said = progress_text(Progress(done=1, total=2, unit=nasty, message=nasty, rate=1.0))
    assert said.isprintable()
