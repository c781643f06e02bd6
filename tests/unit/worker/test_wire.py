"""Frames from a process that may write anything."""

import asyncio

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost_worker.execution.wire import BOUNDS, HEAD, MARK, NOTICE, GarbledError, Kind, frame, json_frame, read_frame


async def _read(data: bytes) -> list[tuple[Kind, bytes]]:
    """Return all frames of `data`. Raises GarbledError; a frame that is cut off is left out."""
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    frames = []
    try:
        while True:
            frames.append(await read_frame(reader))
    except asyncio.IncompleteReadError:
        return frames


bodies = st.sampled_from(sorted(BOUNDS)).flatmap(
    lambda kind: st.tuples(st.just(kind), st.binary(max_size=min(500, BOUNDS[kind])))
)


@given(st.lists(bodies, max_size=5))
def test_frames_come_back_as_they_were_sent(sent: list[tuple[Kind, bytes]]) -> None:
    assert asyncio.run(_read(b"".join(frame(kind, body) for kind, body in sent))) == sent


@given(st.binary(min_size=HEAD.size, max_size=2000))
def test_anything_else_is_noticed(data: bytes) -> None:
    try:
        frames = asyncio.run(_read(data))
    except GarbledError:
        return
    # It could only be a frame that was never finished.
    assert frames == []
    assert data.startswith(MARK)


@given(st.binary(min_size=1, max_size=200), st.data())
def test_a_frame_into_which_something_else_was_written_is_noticed(noise: bytes, data: st.DataObject) -> None:
    whole = json_frame(Kind.RESULT, {"a": list(range(50))})
    at = data.draw(st.integers(0, len(whole) - 1))
    try:
        frames = asyncio.run(_read(whole[:at] + noise + whole[at:]))
    except GarbledError:
        return
    # By chance it was the very bytes that followed, or all that follows has not come yet.
    assert all(body == whole[HEAD.size :] for _, body in frames)


@pytest.mark.parametrize("kind", sorted(BOUNDS))
async def test_no_frame_is_read_that_says_it_is_larger_than_its_kind_may_be(kind: Kind) -> None:
    with pytest.raises(GarbledError, match="more than"):
        await _read(HEAD.pack(MARK, kind, BOUNDS[kind] + 1, 0))


@pytest.mark.parametrize("kind", [0, Kind.JOB, Kind.CANCEL, 10, 255])
async def test_a_child_cannot_send_what_only_the_worker_sends(kind: int) -> None:
    with pytest.raises(GarbledError):
        await _read(HEAD.pack(MARK, kind, 0, 0))


def test_a_notice_is_written_to_a_pipe_in_one_piece() -> None:
    assert NOTICE.size <= 512, "PIPE_BUF of POSIX"
    assert orjson.loads(json_frame(Kind.JOB, {"a": 1})[HEAD.size :]) == {"a": 1}
