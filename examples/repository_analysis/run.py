"""An analysis from address to report: fetch or open, read, parse in a thread, tell how far it is."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from pathlib import PurePosixPath

from examples.repository_analysis.analysis import Analysis, Commit, is_source, is_wanted_first
from examples.repository_analysis.checkout import Checkout, Entry, never, open_checkout
from examples.repository_analysis.errors import AnalysisCancelled, TooLarge
from examples.repository_analysis.models import AnalyseRepository, Report

Progress = Callable[[int, int | None, str], None]
"""Called with files done, files in total (None: not known yet) and a word on what is being done."""

_BATCH_FILES = 32
_BATCH_BYTES = 256 * 1024


def silent(done: int, total: int | None, message: str) -> None:
    """Tell nobody."""
    del done, total, message


async def analyse_repository(
    request: AnalyseRepository, progress: Progress = silent, cancelled: Callable[[], bool] = never
) -> Report:
    """Find the tests of a repository.

    Raises the classes of `errors`; AnalysisCancelled between two files once `cancelled()` is true.
    """
    started = time.monotonic()
    progress(0, None, "reading the commit")
    async with open_checkout(request, cancelled) as checkout:
        analysis = Analysis(request)
        settings = _small_enough(request, analysis, [e for e in checkout.entries if is_wanted_first(e.path)])
        sources = _small_enough(request, analysis, [e for e in checkout.entries if is_source(e.path)])
        if (size := sum(entry.size for entry in (*settings, *sources))) > request.max_bytes:
            raise TooLarge(f"The sources have {size:,} bytes, more than {request.max_bytes:,} (max_bytes).")
        await _read_settings(checkout, analysis, settings)
        await _read_sources(checkout, analysis, sources, progress, cancelled)
        commit = Commit(
            repository=checkout.address.shown,
            hash=checkout.commit,
            files=len(checkout.entries),
            committed_at=checkout.committed_at,
            subject=checkout.subject,
        )
    return analysis.report(commit, time.monotonic() - started)


def _small_enough(request: AnalyseRepository, analysis: Analysis, entries: Sequence[Entry]) -> list[Entry]:
    """The files within the limit for one; the others are listed."""
    for entry in entries:
        if entry.size > request.max_file_bytes:
            analysis.add_problem(entry.path, f"{entry.size:,} bytes, left out (max_file_bytes)")
    return [entry for entry in entries if entry.size <= request.max_file_bytes]


async def _read_settings(checkout: Checkout, analysis: Analysis, entries: Sequence[Entry]) -> None:
    found: dict[str, bytes] = {}
    async with aclosing(checkout.read(entries)) as blobs:
        async for entry, data in blobs:
            if data is not None:
                found[entry.path] = data
    analysis.add_settings(found)


async def _read_sources(
    checkout: Checkout,
    analysis: Analysis,
    entries: Sequence[Entry],
    progress: Progress,
    cancelled: Callable[[], bool],
) -> None:
    """Read in this loop, parse in a thread, a batch at a time, so that the loop stays free for others."""
    total, done = len(entries), 0
    progress(0, total, "reading the sources")
    batch: list[tuple[str, bytes]] = []
    weight = 0

    def parse_batch() -> None:
        for path, data in batch:
            if cancelled():
                raise AnalysisCancelled(f"Cancelled after {done} of {total} files.")
            analysis.add(path, data)

    async with aclosing(checkout.read(entries)) as blobs:
        async for entry, data in blobs:
            if data is None:
                analysis.add_problem(entry.path, "its contents are missing from the repository")
            else:
                batch.append((entry.path, data))
                weight += len(data)
            done += 1
            if len(batch) >= _BATCH_FILES or weight >= _BATCH_BYTES or done == total:
                await asyncio.to_thread(parse_batch)
                batch, weight = [], 0
                progress(done, total, str(PurePosixPath(entry.path).parent))
