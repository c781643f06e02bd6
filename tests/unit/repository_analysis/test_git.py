"""How git is run: its environment, its words, its end."""

import asyncio
import os
from pathlib import Path

import pytest

from examples.repository_analysis.git import Git, GitFailed, shortened
from tests.unit.repository_analysis.helpers import commit


def test_nothing_of_our_environment_steers_git() -> None:
    inherited = {"PATH": "/bin", "HOME": "/root", "GIT_DIR": "/x", "GIT_SSH": "evil", "SSH_ASKPASS": "evil"}
    environment = Git(Path("/a/.git"), Path("/a")).environment(inherited)
    assert environment["PATH"] == "/bin"
    assert environment["GIT_DIR"] == "/a/.git"
    assert environment["GIT_ALLOW_PROTOCOL"] == "none"
    assert environment["GIT_TERMINAL_PROMPT"] == "0"
    assert environment["GIT_CONFIG_GLOBAL"] == "/dev/null"
    assert "evil" not in environment.values()
    count = int(environment["GIT_CONFIG_COUNT"])
    settings = {environment[f"GIT_CONFIG_KEY_{n}"]: environment[f"GIT_CONFIG_VALUE_{n}"] for n in range(count)}
    assert settings["core.hooksPath"] == "/dev/null"
    assert settings["safe.directory"] == "/a"


async def test_a_failure_has_gits_own_words(tmp_path: Path) -> None:
    with pytest.raises(GitFailed, match="not a git repository"):
        await Git(tmp_path, tmp_path).run("rev-parse", "HEAD")


def test_words_are_shortened_to_what_is_fatal_and_lose_credentials() -> None:
    said = b"hint: try this\nfatal: unable to access 'https://me:secret@example.org/'\n" + b"remote: x\n" * 100
    words = shortened(said)
    assert words.startswith("fatal: unable to access 'https://example.org/'; remote: x")
    assert len(words) == 300
    assert shortened(b"") == "it gave no reason"


async def test_leaving_the_block_kills_git_and_its_children(tmp_path: Path) -> None:
    commit(tmp_path, {"a": "b"})
    git = Git(tmp_path / ".git", tmp_path)
    script = "!sleep 1000 & echo $! && wait"
    async with git.started("-c", f"alias.hang={script}", "hang") as process:
        assert process.stdout is not None
        child = int(await process.stdout.readline())
    assert process.returncode == -9
    await _gone(child)


async def _gone(pid: int) -> None:
    """Wait until a killed process is reaped or a zombie, which init reaps when it comes round to it."""
    async with asyncio.timeout(10):
        while True:
            try:
                os.kill(pid, 0)
                state = _state(pid)
            except (ProcessLookupError, FileNotFoundError):
                return
            if state == "Z":
                return
            await asyncio.sleep(0.01)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
