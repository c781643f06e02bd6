"""What a handler's process writes becomes lines of a log."""

from hypothesis import given
from hypothesis import strategies as st

from milepost.tasks.loglines import BURST_LINES, LINES_A_SECOND
from milepost_worker.execution.output import LINE_CHARS, TAIL_BYTES, Lines


def _lines(*parts: bytes) -> list[str]:
    said: list[str] = []
    lines = Lines(said.append, 0.0)
    for part in parts:
        lines.feed(part, 0.0)
    lines.end()
    return said


def test_lines_are_put_together_from_what_comes_in_pieces() -> None:
    assert _lines(b"one\ntw", b"o\n", b"thr", b"ee") == ["one", "two", "three"]


@given(st.lists(st.text(alphabet="abc ", max_size=20).map(str.rstrip), min_size=1, max_size=20), st.integers(1, 9))
def test_it_does_not_matter_where_they_are_cut(words: list[str], size: int) -> None:
    data = "".join(f"{word}\n" for word in words).encode()
    assert _lines(*(data[at : at + size] for at in range(0, len(data), size))) == words


def test_what_would_move_a_cursor_or_is_no_text_is_replaced() -> None:
    assert _lines(b"a\x1b[2Jb\tc\xff\r\n") == ["a\ufffd[2Jb\tc\ufffd"]


def test_long_lines_are_cut_and_take_no_room() -> None:
    said: list[str] = []
    lines = Lines(said.append, 0.0)
    for _ in range(1000):
        lines.feed(b"x" * 10_000, 0.0)
    assert len(lines._begun) <= 4 * LINE_CHARS
    lines.feed(b"\nnext\n", 0.0)
    assert said == ["x" * (LINE_CHARS - 1) + "…", "next"]


def test_too_many_lines_are_counted_and_left_out_until_time_has_passed() -> None:
    said: list[str] = []
    lines = Lines(said.append, 0.0)
    lines.feed(b"x\n" * (BURST_LINES + 7), 0.0)
    assert (len(said), lines.left_out) == (BURST_LINES, 7)
    lines.feed(b"y\n" * 100, 1.0)
    assert said.count("y") == LINES_A_SECOND


def test_the_end_of_the_output_is_kept_whatever_is_left_out() -> None:
    lines = Lines(lambda _: None, 0.0)
    lines.feed(b"x\n" * 100_000 + b"last words", 0.0)
    assert len(lines.tail) == TAIL_BYTES
    assert lines.tail.endswith(b"last words")
