"""What handlers stream: order, bounds, and what is left out."""

import asyncio
import threading
import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost import Context, task
from milepost.tasks.loglines import BURST_LINES, FIELDS, HandlerLog, LibraryLine, log_line
from milepost.tasks.output import (
    BURST_CHARS,
    CHANNELS,
    CHARS_A_SECOND,
    PIECE_BYTES,
    PIECE_CHARS,
    RESUME_CHARS,
    HandlerOutput,
    Piece,
)
from milepost_schemas import EventKind
from milepost_worker.execution.wire import BOUNDS, HEAD, Kind, json_frame
from milepost_worker.outcome import Outcome, Succeeded
from milepost_worker.pump import Pump
from milepost_worker.streams import Streams, _log_data
from milepost_worker.trail import STREAMED_BYTES
from tests.unit.worker.test_pump import attempt_of


class Taken:
    """What a trail is handed."""

    def __init__(self) -> None:
        self.events: list[tuple[EventKind, dict[str, Any]]] = []

    def stream(self, kind: EventKind, data: bytes) -> None:
        self.events.append((kind, orjson.loads(data)))

    @property
    def words(self) -> list[str]:
        return [str(data.get("message") or data.get("chunk")) for _, data in self.events]


def output_at(now: list[float]) -> HandlerOutput:
    return HandlerOutput(lambda: None, lambda: now[0])


def drained(streams: Streams, *, final: bool = False) -> Taken:
    taken: Any = Taken()
    streams.drain(taken, 0.0, final=final)
    return taken  # type: ignore[no-any-return]


class TestOutput:
    @given(st.lists(st.tuples(st.sampled_from("ab"), st.text(st.characters(exclude_categories=["Cs"]), max_size=9000))))
    def test_of_a_channel_is_what_was_emitted_there_as_long_as_there_is_room(self, said: list[tuple[str, str]]) -> None:
        output = output_at([0.0])
        told: dict[str, str] = {}
        for number, (channel, chunk) in enumerate(said):
            output.add(channel, chunk)
            if number % 3 == 0:
                for piece in output.take():
                    told[piece.channel] = told.get(piece.channel, "") + piece.chunk
        for piece in output.take(final=True):
            told[piece.channel] = told.get(piece.channel, "") + piece.chunk
        if sum(len(chunk) for _, chunk in said) <= BURST_CHARS:
            wanted = {channel: "".join(c for n, c in said if n == channel) for channel, _ in said}
            assert {n: c for n, c in told.items() if c} == {n: c for n, c in wanted.items() if c}
            assert output.left_out == 0

    @given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 2 * BURST_CHARS), st.floats(0, 10)), max_size=30))
    def test_and_what_was_left_out_of_it_are_all_there_was(self, said: list[tuple[str, int, float]]) -> None:
        """Each place where something is missing says how much."""
        now = [0.0]
        output = output_at(now)
        pieces: list[Piece] = []
        for channel, size, later in said:
            now[0] += later
            output.add(channel, "x" * size)
            if later > 5:
                pieces += output.take()
        pieces += output.take(final=True)
        for channel in "ab":
            mine = [piece for piece in pieces if piece.channel == channel]
            assert sum(len(p.chunk) + p.left_out for p in mine) == sum(s for name, s, _ in said if name == channel)
        assert sum(piece.left_out for piece in pieces) == output.left_out
        assert sum(len(piece.chunk) for piece in pieces) <= BURST_CHARS + now[0] * CHARS_A_SECOND

    @given(st.text(max_size=200), st.integers(1, 200))
    def test_comes_in_pieces_that_fit_an_event_and_a_frame(self, text: str, times: int) -> None:
        output = output_at([0.0])
        output.add("c", text * times)
        for piece in output.take(final=True):
            assert len(piece.chunk) <= PIECE_CHARS
            assert len(orjson.dumps(piece.chunk)) <= PIECE_BYTES
            assert len(json_frame(Kind.OUTPUT, tuple(piece))) - HEAD.size <= BOUNDS[Kind.OUTPUT]

    @pytest.mark.parametrize("character", ["\x01", '"', "é", "\U0001f600", "\ud800"])
    def test_of_long_characters_is_cut_up_and_whole(self, character: str) -> None:
        output = output_at([0.0])
        output.add("c", character * 20_000)
        pieces = output.take()
        assert all(len(orjson.dumps(piece.chunk)) <= PIECE_BYTES for piece in pieces)
        text = "".join(piece.chunk for piece in pieces)
        assert text == (character if character != "\ud800" else "?") * 20_000

    def test_that_floods_comes_in_few_long_parts(self) -> None:
        now = [0.0]
        output = output_at(now)
        for _ in range(1_000_000):
            output.add("c", "flood ")
            now[0] += 1e-6
        pieces = output.take(final=True)
        assert len(pieces) <= BURST_CHARS // PIECE_CHARS + 2 + CHARS_A_SECOND // RESUME_CHARS * 2
        assert output.left_out > 5_000_000

    def test_goes_to_a_bounded_number_of_channels(self) -> None:
        output = output_at([0.0])
        for number in range(CHANNELS + 3):
            output.add(f"channel {number}" + "x" * 1000, "12345")
        pieces = output.take(final=True)
        assert [len(piece.channel) for piece in pieces[:CHANNELS]] == [64] * CHANNELS
        assert pieces[CHANNELS:] == [Piece("…", "", 15)]

    def test_emitted_in_the_middle_of_emitting_is_not_lost(self) -> None:
        """As by a signal handler, which may also make what was emitted be taken."""
        taken: list[Piece] = []
        depth = 0

        def interrupted() -> float:
            nonlocal depth
            depth += 1
            if depth == 2:  # the first is the start
                output.add("c", "inner ")
                taken.extend(output.take())
            return 0.0

        output = HandlerOutput(lambda: None, interrupted)
        output.add("c", "outer ")
        taken += output.take(final=True)
        assert "".join(piece.chunk for piece in taken) == "inner outer "

    def test_that_another_process_left_out_is_counted_here(self) -> None:
        output = output_at([0.0])
        output.add("c", "abc", 7)
        output.add("c", "", 5)
        assert output.take(final=True) == [Piece("c", "abc", 7), Piece("c", "", 5)]
        assert output.left_out == 12


class TestStreams:
    def test_keep_the_order_of_speech(self) -> None:
        streams = Streams(lambda: None)
        streams.emit("out", "a")
        streams.emit("out", "b")
        streams.line(log_line("info", "between", {}))
        streams.emit("out", "c")
        taken = drained(streams)
        assert taken.words == ["ab", "between", "c"]
        assert [kind for kind, _ in taken.events] == [EventKind.OUTPUT, EventKind.LOG, EventKind.OUTPUT]

    def test_wake_once_for_all_that_comes_until_it_is_taken(self) -> None:
        wakes: list[None] = []
        streams = Streams(lambda: wakes.append(None))
        for _ in range(10):
            streams.emit("out", "a")
            streams.line(log_line("info", "b", {}))
        assert len(wakes) == 1
        drained(streams)
        assert not streams.pending
        streams.emit("out", "c")
        assert len(wakes) == 2

    def test_from_many_threads_lose_nothing_and_keep_the_order_of_each(self) -> None:
        streams = Streams(lambda: None)
        over = threading.Event()
        each = 300
        taken: Any = Taken()

        def speak(name: str) -> None:
            for number in range(each):
                streams.emit(name, f"{number} ")
                if number % 7 == 0:
                    streams.line(log_line("info", f"{name} {number}", {}))

        def drain() -> None:
            while not over.is_set():
                streams.drain(taken, 0.0)

        drainer = threading.Thread(target=drain)
        threads = [threading.Thread(target=speak, args=(name,)) for name in "abcd"]
        for thread in [drainer, *threads]:
            thread.start()
        for thread in threads:
            thread.join()
        over.set()
        drainer.join()
        streams.drain(taken, 0.0, final=True)
        for name in "abcd":
            text = "".join(data["chunk"] for _, data in taken.events if data.get("channel") == name)
            assert text == "".join(f"{number} " for number in range(each))
            lines = [data["message"] for _, data in taken.events if data.get("message", "").startswith(name)]
            assert lines == [f"{name} {number}" for number in range(0, each, 7)]

    @pytest.mark.parametrize("character", ["x", "\U0001f600", "\t", '"'])
    def test_have_no_event_that_is_too_large(self, character: str) -> None:
        fields = {character * 60 + str(number): character * 2_000 for number in range(100)}
        data = _log_data(log_line("info", character * 5_000, fields))
        assert len(data) <= STREAMED_BYTES
        shown = orjson.loads(data)["fields"]
        assert shown["…"] == 100 - (len(shown) - 1) >= 100 - FIELDS


class TestAnAttempt:
    async def test_on_the_loop_streams_in_order_with_its_progress_and_all_of_it_before_its_end(self) -> None:
        @task("x.streams")
        async def streams(ctx: Context) -> None:
            ctx.log("begun", rows=1)
            ctx.emit("out", "a")
            ctx.progress(1, 2)
            ctx.emit("out", "b")
            ctx.log("done")

        kinds, data = await told_by("x.streams")
        assert kinds == ["started", "log", "output", "progress", "output", "log"]
        assert data[1]["fields"] == {"rows": 1}
        assert data[1]["level"] == "info"
        assert data[1]["time"].endswith("Z")
        assert (data[2], data[4]) == ({"channel": "out", "chunk": "a"}, {"channel": "out", "chunk": "b"})

    async def test_in_a_thread_does_so_too(self) -> None:
        @task("x.streams")
        def streams(ctx: Context) -> None:
            ctx.log("begun")
            for letter in "abc":
                ctx.emit("out", letter)
            ctx.log("done")

        kinds, data = await told_by("x.streams")
        assert kinds == ["started", "log", "output", "log"]
        assert data[2]["chunk"] == "abc"

    async def test_that_streams_a_models_tokens_makes_ten_events_a_second(self) -> None:
        @task("x.streams")
        async def streams(ctx: Context) -> None:
            for number in range(200):
                ctx.emit("tokens", f"{number} ")
                await asyncio.sleep(0.005)

        began = time.monotonic()
        kinds, data = await told_by("x.streams")
        took = time.monotonic() - began
        assert "".join(each["chunk"] for each in data if "chunk" in each) == "".join(f"{n} " for n in range(200))
        assert 3 <= kinds.count("output") <= 10 * took + 2

    async def test_says_at_its_end_how_much_output_was_left_out(self) -> None:
        @task("x.streams")
        async def streams(ctx: Context) -> None:
            ctx.emit("out", "x" * (BURST_CHARS + 10))

        _, data = await told_by("x.streams")
        assert data[-2]["message"] == "the handler emitted more than is kept; output was left out"
        assert data[-2]["fields"] == {"characters": 10}
        assert data[-1] == {"channel": "out", "chunk": "", "left_out": 10}

    async def test_says_in_its_log_how_many_lines_were_left_out(self) -> None:
        @task("x.streams")
        async def streams(ctx: Context) -> None:
            for number in range(BURST_LINES + 30):
                ctx.log("a line", number=number)

        _, data = await told_by("x.streams")
        assert data[-1]["message"] == "the handler logged more than is kept; lines were left out"
        lines = [each for each in data if each.get("message") == "a line"]
        assert len(lines) + data[-1]["fields"]["lines"] == BURST_LINES + 30

    async def test_that_says_nothing_tells_nothing(self) -> None:
        @task("x.streams")
        async def streams(_ctx: Context) -> None:
            """Return at once."""

        assert await told_by("x.streams") == ([], [])

    async def test_may_emit_only_text(self) -> None:
        @task("x.streams")
        async def streams(ctx: Context) -> str:
            with pytest.raises(TypeError, match="bytes"):
                ctx.emit("out", b"bytes")  # type: ignore[arg-type]
            return "unharmed"

        assert await told_by("x.streams") == ([], [])

    async def test_streams_nothing_more_after_its_end(self) -> None:
        contexts: list[Context] = []

        @task("x.streams")
        async def streams(ctx: Context) -> None:
            ctx.emit("out", "before")
            contexts.append(ctx)

        kinds, _ = await told_by("x.streams")
        contexts[0].emit("out", "after")
        contexts[0].log("after")
        assert kinds == ["started", "output"]


async def told_by(type_: str) -> tuple[list[str], list[dict[str, Any]]]:
    """Run a task's attempt to its end, with its pump; return kinds and data of the events before the last."""
    events: list[Any] = []
    pump = Pump()
    attempt = attempt_of(type_, pump, events.append)
    over: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    pumping = asyncio.create_task(pump.run())
    attempt.start(lambda _, outcome: over.set_result(outcome))
    outcome = await over
    pumping.cancel()
    assert isinstance(outcome, Succeeded), outcome
    attempt.trail.close()
    assert [event[3].seq for event in events] == list(range(len(events)))
    return [event[4].value for event in events], [orjson.loads(orjson.dumps(event[5])) for event in events]


def test_lines_of_libraries_are_lines_that_one_can_tell_apart() -> None:
    lines: list[Any] = []
    log = HandlerLog(lines.append)
    log.add("info", "said", {})
    log.add("info", "said", {}, library=True)
    assert [isinstance(line, LibraryLine) for line in lines] == [False, True]
    assert lines[0] == lines[1]
