"""Running git so that nothing in a repository, its settings or its address can make it do anything else.

Only commands that read objects are run (rev-parse, ls-tree, cat-file) and, for a remote, init and fetch. No
work tree ever exists, so hooks, filters, attributes, submodules and symbolic links have nothing to act on.
"""

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from examples.repository_analysis.address import without_credentials
from examples.repository_analysis.errors import RepositoryError

NO_PROTOCOL = "none"
REMOTE_PROTOCOLS = "https:ssh"
_WORDS_SHOWN = 300


class GitFailed(RepositoryError):
    """Git ended with an error; `words` is what it said, shortened and without credentials."""

    def __init__(self, words: str) -> None:
        self.words = words
        super().__init__(f"git: {words}")


@dataclass(frozen=True, slots=True)
class Git:
    """Git on one repository: `directory` holds the objects, `owner` is the path people know it by."""

    directory: Path
    owner: Path
    protocols: str = NO_PROTOCOL
    """What git may connect through, as in GIT_ALLOW_PROTOCOL; `none` also stops a partial clone's fetches."""

    async def run(self, *arguments: str) -> bytes:
        """What the command wrote. Raises GitFailed."""
        async with self.started(*arguments) as process:
            written, complaint = await process.communicate()
        if process.returncode != 0:
            raise GitFailed(shortened(complaint))
        return written

    @contextlib.asynccontextmanager
    async def started(self, *arguments: str, stdin: int = DEVNULL) -> AsyncIterator[Process]:
        """The command as a process of its own group, which is gone, children included, after the block."""
        process = await asyncio.create_subprocess_exec(
            "git",
            *arguments,
            stdin=stdin,
            stdout=PIPE,
            stderr=PIPE,
            env=self.environment(os.environ),
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            # communicate, not wait: unread output would keep the pipes, and with them the wait, alive.
            await process.communicate()

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """The environment git runs in: nothing of ours that steers git, everything that disarms it."""
        kept = {name: value for name, value in inherited.items() if not name.startswith(("GIT_", "SSH_ASKPASS"))}
        settings = {
            "core.hooksPath": "/dev/null",
            "core.fsmonitor": "false",
            "core.askPass": "",
            "fetch.recurseSubmodules": "false",
            "fetch.writeCommitGraph": "false",
            "gc.auto": "0",
            "maintenance.auto": "false",
            # A checkout of another user is only read, and nothing it configures is run. From the command
            # line or the environment this is honoured, from the repository it is not (git-config(1)).
            "safe.directory": str(self.owner),
        }
        disarmed = {
            "GIT_DIR": str(self.directory),
            "GIT_ALLOW_PROTOCOL": self.protocols,
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_LFS_SKIP_SMUDGE": "1",
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oConnectTimeout=30",
            "GIT_TERMINAL_PROMPT": "0",
            "LC_ALL": "C",
            "GIT_CONFIG_COUNT": str(len(settings)),
        }
        if self.protocols == NO_PROTOCOL:
            # A remote may need the worker's credential helper; a local repository needs nobody's settings.
            disarmed["GIT_CONFIG_GLOBAL"] = "/dev/null"
        for number, (key, value) in enumerate(settings.items()):
            disarmed[f"GIT_CONFIG_KEY_{number}"] = key
            disarmed[f"GIT_CONFIG_VALUE_{number}"] = value
        return kept | disarmed


def shortened(complaint: bytes) -> str:
    """Git's complaint in one line, without credentials: what it calls fatal or an error, if it does."""
    lines = [line.strip() for line in complaint.decode(errors="replace").splitlines() if line.strip()]
    said = [line for line in lines if line.startswith(("fatal:", "error:", "ERROR:", "remote:"))] or lines
    words = without_credentials("; ".join(said) or "it gave no reason")
    return words if len(words) <= _WORDS_SHOWN else words[: _WORDS_SHOWN - 1] + "…"
