"""How progress reads."""

import io
import json
from typing import Any

import pytest
from rich.console import Console

from milepost.cli.output import number, progress_text, span
from milepost.cli.show.bars import Bars
from milepost.cli.show.lines import JsonLines, Lines
from milepost.client import RunEvent
from milepost_schemas.position import Position
from milepost_schemas.task import Progress

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
