"""What is printed in the worker's own process."""

import io
import logging
import sys
from collections.abc import Iterator
from uuid import UUID

import pytest

from milepost.runtime.logs import at_work
from milepost_worker.execution.output import LINE_CHARS
from milepost_worker.execution.printed import Printed, heard


class Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(getattr(record, "line", record.getMessage()))


@pytest.fixture
def records() -> Iterator[Records]:
    root = logging.getLogger()
    handler = Records()
    before = root.handlers[:]
    root.handlers[:] = [handler]
    yield handler
    root.handlers[:] = before
    at_work(None, None)


def test_each_line_is_a_record_when_it_ends(records: Records) -> None:
    with heard("info"):
        stream = Printed(io.StringIO())
        print("one", end="", file=stream)
        assert records.lines == []
        print(" and\nthe \x1b[2J other\r", file=stream)
        print("x" * 10 * LINE_CHARS, end="", file=stream)
        print("y", file=stream)
    assert records.lines[:2] == ["one and", "the \ufffd[2J other"]
    assert records.lines[2] == "x" * (LINE_CHARS - 1) + "…"


def test_tasks_that_print_by_turns_do_not_end_up_in_one_line(records: Records) -> None:
    with heard("info"):
        stream = Printed(io.StringIO())
        for word in ("a", "b", "\n"):
            for task in (1, 2):
                at_work(UUID(int=task), None)
                print(word, end="", file=stream)
    assert records.lines == ["ab", "ab"]


def test_of_libraries_only_warnings_are_logged_and_all_of_handlers(records: Records) -> None:
    with heard("info"):
        logging.getLogger("x").info("nobody's")
        logging.getLogger("x").warning("a warning")
        at_work(UUID(int=1), None)
        logging.getLogger("x").info("a task's")
        logging.getLogger("x").debug("too small")
    logging.getLogger("x").info("over")
    assert records.lines == ["a warning", "a task's"]


def test_the_streams_are_as_before_when_it_is_over(records: Records) -> None:
    before = sys.stdout, sys.stderr
    with heard("info"):
        print("heard")  # noqa: T201
        assert sys.stdout is not before[0]
        assert sys.stdout.encoding == before[0].encoding
    assert (sys.stdout, sys.stderr) == before
    assert records.lines == ["heard"]


def test_a_record_that_cannot_be_logged_goes_to_the_stream_itself(records: Records) -> None:
    raw = io.StringIO()
    stream = Printed(raw)

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            stream.write(f"broken by {record.name}\n")

    logging.getLogger().handlers[:] = [Broken()]
    with heard("info"):
        stream.write("a line\n")
    assert raw.getvalue() == "broken by milepost.worker.printed\n"
    assert records.lines == []
