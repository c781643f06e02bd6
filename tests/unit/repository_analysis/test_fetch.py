"""Fetching a remote: the happy way over git's own transport, and every way it can fail."""

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Self

import pytest

from examples.repository_analysis.checkout import never, open_checkout
from examples.repository_analysis.errors import (
    AnalysisCancelled,
    CannotFetch,
    EmptyRepository,
    FetchTimeout,
    NotARepository,
    TooLarge,
    UnknownRef,
)
from examples.repository_analysis.fetch import FETCHED, fetch
from examples.repository_analysis.git import Git
from examples.repository_analysis.models import AnalyseRepository
from tests.unit.repository_analysis.helpers import commit, git


async def fetched(origin: Path, into: Path, **asked: object) -> Git:
    """Fetch over the file protocol, which only tests may use: it is the same code as over https."""
    request = AnalyseRepository.model_validate({"repository": "https://example.org/a"} | asked)
    return await fetch(f"file://{origin}", request, into, never, protocols="file")


async def test_one_commit_is_fetched_by_branch_tag_or_hash(tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    first = commit(origin, {"a": "1"})
    git(origin, "tag", "--annotate", "--message", "one", "v1")
    git(origin, "config", "uploadpack.allowAnySHA1InWant", "true")
    second = commit(origin, {"a": "2"})
    for number, (ref, expected) in enumerate([("HEAD", second), ("main", second), ("v1", first), (first, first)]):
        copy = await fetched(origin, tmp_path / f"into{number}", ref=ref)
        assert (await copy.run("rev-parse", f"{FETCHED}^{{commit}}")).decode().strip() == expected
        assert (await copy.run("rev-list", "--count", FETCHED)).strip() == b"1"


async def test_an_unknown_ref_an_empty_remote_and_no_remote_are_told_apart(tmp_path: Path) -> None:
    commit(tmp_path / "origin", {"a": "1"})
    (tmp_path / "empty").mkdir()
    git(tmp_path / "empty", "init", "--quiet", "--bare")
    with pytest.raises(UnknownRef, match="no-such"):
        await fetched(tmp_path / "origin", tmp_path / "1", ref="no-such")
    with pytest.raises(UnknownRef):
        await fetched(tmp_path / "origin", tmp_path / "2", ref="f" * 40)
    with pytest.raises(EmptyRepository):
        await fetched(tmp_path / "empty", tmp_path / "3")
    with pytest.raises(NotARepository):
        await fetched(tmp_path / "nowhere", tmp_path / "4")


async def test_a_remote_with_too_many_bytes_is_refused(tmp_path: Path) -> None:
    noise = bytes(range(256)) * 64
    commit(tmp_path / "origin", {f"{n}": bytes(b ^ n for b in noise) for n in range(50)})
    with pytest.raises(TooLarge, match="larger than 1,000 bytes"):
        await fetched(tmp_path / "origin", tmp_path / "into", max_bytes=1000)


async def test_a_protocol_that_is_not_allowed_is_refused_by_git_too(tmp_path: Path) -> None:
    commit(tmp_path / "origin", {"a": "1"})
    request = AnalyseRepository(repository="https://example.org/a")
    with pytest.raises(CannotFetch, match="transport 'file' not allowed"):
        await fetch(f"file://{tmp_path}/origin", request, tmp_path / "into", never)
    with pytest.raises(CannotFetch, match="transport 'ext' not allowed"):
        await fetch(f"ext::touch {tmp_path}/owned", request, tmp_path / "into", never)
    assert not (tmp_path / "owned").exists()


class Silent:
    """A server that takes connections and never says a word."""

    def __init__(self) -> None:
        self.connected = asyncio.Event()
        self.closed = asyncio.Event()
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"https://me:secret@127.0.0.1:{self._server.sockets[0].getsockname()[1]}/a"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connected.set()
        while await reader.read(4096):
            pass
        self.closed.set()
        writer.close()


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary directories are made for the length of a test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def left_in(directory: Path) -> list[Path]:
    """What is in a directory."""
    return list(directory.iterdir())


async def _open(request: AnalyseRepository, cancelled: asyncio.Event | None = None) -> None:
    async with open_checkout(request, cancelled.is_set if cancelled else never):
        pass


async def test_a_remote_that_does_not_answer_times_out_and_leaves_nothing(temporary: Path) -> None:
    async with Silent() as server:
        started = time.monotonic()
        with pytest.raises(FetchTimeout, match="https://127") as told:
            await _open(AnalyseRepository(repository=server.url, fetch_timeout=1))
        assert time.monotonic() - started < 10
        assert "secret" not in str(told.value)
        assert not told.value.permanent
        await asyncio.wait_for(server.closed.wait(), 10)
    assert not left_in(temporary)


async def test_cancelling_in_the_middle_kills_git_and_leaves_nothing(temporary: Path) -> None:
    async with Silent() as server:
        opening = asyncio.create_task(_open(AnalyseRepository(repository=server.url)))
        await asyncio.wait_for(server.connected.wait(), 10)
        assert left_in(temporary)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        # The connection ends only when the process that holds it is gone.
        await asyncio.wait_for(server.closed.wait(), 10)
    assert not left_in(temporary)


async def test_a_task_asked_to_stop_stops_fetching(temporary: Path) -> None:
    asked = asyncio.Event()
    async with Silent() as server:
        opening = asyncio.create_task(_open(AnalyseRepository(repository=server.url), asked))
        await asyncio.wait_for(server.connected.wait(), 10)
        asked.set()
        with pytest.raises(AnalysisCancelled):
            await opening
        await asyncio.wait_for(server.closed.wait(), 10)
    assert not left_in(temporary)


async def test_a_remote_that_cannot_be_reached_may_be_tried_again(temporary: Path) -> None:
    async with Silent() as server:
        url = server.url
    with pytest.raises(CannotFetch, match="could not be fetched") as told:
        await _open(AnalyseRepository(repository=url))
    assert not told.value.permanent
    assert not left_in(temporary)
