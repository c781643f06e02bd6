"""A repository at one commit, read straight from git's objects.

Nothing of the repository is ever written out as files: the listing comes from `ls-tree`, the contents from
`cat-file --batch`. A symbolic link is therefore just an entry to leave out, and no limit can be exceeded by
what a checkout would unfold.
"""

import asyncio
import contextlib
import shutil
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from examples.repository_analysis.address import Address, parse_address
from examples.repository_analysis.errors import (
    BrokenRepository,
    EmptyRepository,
    NotARepository,
    TooLarge,
    UnknownRef,
)
from examples.repository_analysis.fetch import FETCHED, fetch
from examples.repository_analysis.git import Git, GitFailed, shortened
from examples.repository_analysis.models import AnalyseRepository

_REGULAR = {"100644", "100755", "100664"}
_CHUNK = 64 * 1024
_SUBJECT_SHOWN = 120
_ASKED_AT_ONCE = 64
"""Object names written to `cat-file` before reading; few enough that both pipes never fill up."""


def never() -> bool:
    """Nobody asks to stop."""
    return False


@dataclass(frozen=True, slots=True)
class Entry:
    """A regular file of the commit."""

    path: str
    oid: str
    size: int


@dataclass(frozen=True, slots=True)
class Checkout:
    """The commit that was asked for and the regular files in it; links and submodules are left out."""

    address: Address
    commit: str
    committed_at: datetime | None
    subject: str
    entries: Sequence[Entry]
    git: Git

    async def read(self, entries: Sequence[Entry]) -> AsyncGenerator[tuple[Entry, bytes | None], None]:
        """The contents of these files in their order; None for an object that is missing."""
        async with self.git.started("cat-file", "--batch", stdin=PIPE) as process:
            for first in range(0, len(entries), _ASKED_AT_ONCE):
                some = entries[first : first + _ASKED_AT_ONCE]
                _stdin(process).write("".join(f"{entry.oid}\n" for entry in some).encode())
                await _stdin(process).drain()
                for entry in some:
                    yield entry, await _object(process)


@contextlib.asynccontextmanager
async def open_checkout(request: AnalyseRepository, cancelled: Callable[[], bool] = never) -> AsyncIterator[Checkout]:
    """Open the repository at the commit; a remote is fetched to a directory that is gone afterwards.

    Raises the classes of `errors`. Reading stops, and git is gone, when the block is left or cancelled.
    """
    address = parse_address(request.repository)
    if address.url is None:
        yield await _open(local_git(address), address, request, request.ref)
        return
    temporary = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="milepost-analysis-"))
    try:
        git = await fetch(address.url, request, temporary, cancelled)
        yield await _open(git, address, request, FETCHED)
    finally:
        # Not in a thread: a cancelled block must not leave before the directory is gone.
        shutil.rmtree(temporary, ignore_errors=True)


def local_git(address: Address) -> Git:
    """Git on a path of this machine. GIT_DIR is named, so git looks for no repository further up."""
    path = (address.path or Path()).absolute()
    if not path.is_dir():
        raise NotARepository(f"{address.shown} is not a directory of this machine.")
    return Git(directory=path / ".git" if (path / ".git").exists() else path, owner=path)


async def _open(git: Git, address: Address, request: AnalyseRepository, ref: str) -> Checkout:
    commit = await _resolve(git, address, request.ref, ref)
    committed_at, subject = _read_commit(await git.run("cat-file", "commit", commit))
    return Checkout(
        address=address,
        commit=commit,
        committed_at=committed_at,
        subject=subject,
        entries=await _list(git, commit, request.max_files),
        git=git,
    )


async def _resolve(git: Git, address: Address, shown: str, ref: str) -> str:
    try:
        return (await git.run("rev-parse", "--verify", f"{ref}^{{commit}}")).decode().strip()
    except GitFailed as failed:
        try:
            refs = await git.run("for-each-ref", "--count=1")
        except GitFailed as worse:
            raise NotARepository(f"{address.shown} cannot be read as a git repository ({worse.words}).") from worse
        if not refs and not await _has_head(git):
            raise EmptyRepository(f"{address.shown} has no commits yet; there is nothing to analyse.") from failed
        raise UnknownRef(f"{address.shown} has no commit called {shown!r}.") from failed


async def _has_head(git: Git) -> bool:
    try:
        await git.run("rev-parse", "--verify", "HEAD^{commit}")
    except GitFailed:
        return False
    return True


async def _list(git: Git, commit: str, most: int) -> list[Entry]:
    """The regular files of a commit; git is stopped as soon as there are too many."""
    entries: list[Entry] = []
    seen = 0
    rest = b""
    async with git.started("ls-tree", "-r", "-z", "-l", "--full-tree", commit) as process:
        stdout = process.stdout
        while stdout is not None and (chunk := await stdout.read(_CHUNK)):
            *lines, rest = (rest + chunk).split(b"\0")
            seen += len(lines)
            if seen > most:
                raise TooLarge(f"The commit has more than {most:,} files (max_files); allow more to analyse it.")
            entries.extend(entry for line in lines if (entry := _entry(line)) is not None)
        _, complaint = await process.communicate()
    if process.returncode != 0:
        raise BrokenRepository(f"The commit's files cannot be listed ({shortened(complaint)}).")
    return entries


def _entry(line: bytes) -> Entry | None:
    """One `mode SP type SP oid SP+ size TAB path` of ls-tree; None for a link or a submodule.

    The size of an object that is missing reads `BAD`; reading it tells so again.
    """
    about, _, path = line.partition(b"\t")
    mode, _, oid, size = about.decode().split()
    if mode not in _REGULAR:
        return None
    return Entry(path.decode(errors="backslashreplace"), oid, int(size) if size.isdigit() else 0)


def _read_commit(text: bytes) -> tuple[datetime | None, str]:
    """When a commit was made and the first line of its message, from the object itself: no gpg, no mailmap."""
    headers, _, message = text.decode(errors="replace").partition("\n\n")
    subject = "".join(c for c in message.strip().partition("\n")[0] if c.isprintable())
    committed_at = None
    for header in headers.splitlines():
        if header.startswith("committer "):
            with contextlib.suppress(ValueError, OverflowError, OSError, IndexError):
                committed_at = datetime.fromtimestamp(int(header.split()[-2]), UTC)
    return committed_at, subject[:_SUBJECT_SHOWN]


async def _object(process: Process) -> bytes | None:
    """The next answer of `cat-file --batch`: `oid type size LF contents LF`, or `oid missing LF`."""
    stdout = process.stdout
    if stdout is None:
        raise BrokenRepository("git cat-file has no output.")
    try:
        answer = (await stdout.readuntil(b"\n")).split()
        if len(answer) != 3:
            return None
        return (await stdout.readexactly(int(answer[2]) + 1))[:-1]
    except asyncio.IncompleteReadError as error:
        raise BrokenRepository("Git stopped in the middle of a file; check the repository with git fsck.") from error


def _stdin(process: Process) -> asyncio.StreamWriter:
    if process.stdin is None:
        raise BrokenRepository("git cat-file has no input.")
    return process.stdin
