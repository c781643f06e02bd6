"""Fetching one commit of a remote into an empty bare repository, within a deadline and a size."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from examples.repository_analysis.address import without_credentials
from examples.repository_analysis.errors import (
    AnalysisCancelled,
    CannotFetch,
    EmptyRepository,
    FetchTimeout,
    NotARepository,
    RepositoryError,
    TooLarge,
    UnknownRef,
)
from examples.repository_analysis.git import REMOTE_PROTOCOLS, Git, GitFailed
from examples.repository_analysis.models import AnalyseRepository

FETCHED = "refs/milepost/analysed"
_LOOK_EVERY = 0.2
_ASK_FOR_REFS = 30.0
_NO_SUCH_REF = ("couldn't find remote ref", "not our ref", "unadvertised object", "invalid refspec")
_NO_SUCH_REPOSITORY = (
    "not found",
    "does not exist",
    "not appear to be a git repository",
    "could not read username",
    "could not read password",
    "authentication failed",
    "permission denied",
    "host key verification failed",
)


async def fetch(
    url: str,
    request: AnalyseRepository,
    directory: Path,
    cancelled: Callable[[], bool],
    protocols: str = REMOTE_PROTOCOLS,
) -> Git:
    """Fetch the request's ref, one commit deep and without tags, submodules or a work tree.

    Raises CannotFetch, FetchTimeout, TooLarge, UnknownRef, EmptyRepository, NotARepository, AnalysisCancelled.
    """
    git = Git(directory=directory / "repository.git", owner=directory / "repository.git", protocols=protocols)
    await git.run("init", "--quiet", "--bare", "--template=", str(git.directory))
    shown = without_credentials(url)
    fetching = asyncio.create_task(
        git.run(
            "fetch",
            "--quiet",
            "--depth=1",
            "--no-tags",
            "--no-recurse-submodules",
            "--no-write-fetch-head",
            "--end-of-options",
            url,
            f"+{request.ref}:{FETCHED}",
        )
    )
    try:
        await _watched(fetching, request, directory, cancelled, shown)
    except GitFailed as failed:
        raise await _outcome(git, url, request.ref, shown, failed) from failed
    finally:
        fetching.cancel()
        await asyncio.gather(fetching, return_exceptions=True)
    return git


async def _watched(
    fetching: asyncio.Task[bytes],
    request: AnalyseRepository,
    directory: Path,
    cancelled: Callable[[], bool],
    shown: str,
) -> None:
    """Wait for the fetch, but no longer and for no more bytes than the request allows."""
    deadline = time.monotonic() + request.fetch_timeout
    while True:
        left = deadline - time.monotonic()
        await asyncio.wait({fetching}, timeout=max(0.0, min(_LOOK_EVERY, left)))
        if _bytes_below(directory) > request.max_bytes:
            raise TooLarge(f"{shown} is larger than {request.max_bytes:,} bytes (max_bytes); allow more.")
        if fetching.done():
            await fetching
            return
        if cancelled():
            raise AnalysisCancelled("Cancelled while the repository was being fetched.")
        if left <= 0:
            raise FetchTimeout(f"{shown} was not fetched within {request.fetch_timeout:g} s (fetch_timeout).")


def _bytes_below(directory: Path) -> int:
    total = 0
    for path in directory.rglob("*"):
        try:
            total += path.lstat().st_size
        except FileNotFoundError:  # git renames what it has received
            continue
    return total


async def _outcome(git: Git, url: str, ref: str, shown: str, failed: GitFailed) -> RepositoryError:
    """What git's words mean for the person who asked."""
    words = failed.words.lower()
    if any(sign in words for sign in _NO_SUCH_REF):
        if ref == "HEAD" and not await _any_ref(git, url):
            return EmptyRepository(f"{shown} has no commits yet; there is nothing to analyse.")
        return UnknownRef(f"{shown} has no {ref!r}; give a branch, a tag or a commit's full hash ({failed.words}).")
    if any(sign in words for sign in _NO_SUCH_REPOSITORY):
        return NotARepository(f"{shown} does not exist or needs credentials ({failed.words}).")
    return CannotFetch(f"{shown} could not be fetched ({failed.words}).")


async def _any_ref(git: Git, url: str) -> bool:
    """Whether the remote has any ref at all; yes, if it does not say so in time."""
    try:
        async with asyncio.timeout(_ASK_FOR_REFS):
            return bool(await git.run("ls-remote", "--quiet", "--end-of-options", url))
    except (GitFailed, TimeoutError):
        return True
