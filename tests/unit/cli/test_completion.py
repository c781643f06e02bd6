"""Completion, in a real shell; and what programs can read."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest

from milepost.cli.__main__ import TABLE
from milepost.cli.commands.completion import SHELLS

FOR_PEOPLE = {"dev", "demo", "api", "worker", "notifier", "completion"}
"""These run until they are ended, or write what a shell reads."""


def _commands() -> Iterator[tuple[str, click.Command]]:
    for name, (target, _) in TABLE.items():
        module, _, attribute = target.partition(":")
        command = getattr(import_module(module), attribute)
        if isinstance(command, click.Group):
            yield from ((f"{name} {sub}", each) for sub, each in command.commands.items())
        else:
            yield name, command


def test_every_command_that_a_program_may_read_writes_json() -> None:
    without = {name for name, command in _commands() if not any("--json" in each.opts for each in command.params)}
    assert without == FOR_PEOPLE


def _milepost(*argv: str, env: dict[str, str] | None = None) -> str:
    command = [sys.executable, "-m", "milepost.cli", *argv]
    return subprocess.run(
        command, env=os.environ | (env or {}), capture_output=True, text=True, check=True, timeout=60
    ).stdout


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Give a PATH on which `milepost` is this one."""
    script = tmp_path / "milepost"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m milepost.cli "$@"\n')
    script.chmod(0o755)
    return f"{tmp_path}:{os.environ['PATH']}"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("milepost dead", {"dead-letters"}),
        ("milepost dead-letters re", {"replay"}),
        ("milepost list --sta", {"--state"}),
        ("milepost list --state can", {"cancelled"}),
        ("milepost completion z", {"zsh"}),
        ("milepost nonsense", set()),
    ],
)
def test_bash_completes_commands_options_and_choices(path: str, words: str, expected: set[str]) -> None:
    split = words.split()
    program = (
        'eval "$(milepost completion bash)"; complete -p milepost >/dev/null || exit 9;'
        f"COMP_WORDS=({words}); COMP_CWORD={len(split) - 1}; _milepost_completion milepost;"
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "--noprofile", "-c", program],
        env=os.environ | {"PATH": path}, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert set(done.stdout.split()) == expected, done.stderr


def test_the_other_shells_are_told_in_their_ways(tmp_path: Path) -> None:
    env = {"COMP_WORDS": "milepost dead", "COMP_CWORD": "1", "MILEPOST_HOME": str(tmp_path)}
    zsh = _milepost(env=env | {"_MILEPOST_COMPLETE": "zsh_complete"})
    assert zsh.splitlines() == ["plain", "dead-letters", TABLE["dead-letters"][1]]
    fish = _milepost(env=env | {"_MILEPOST_COMPLETE": "fish_complete", "COMP_CWORD": "dead"})
    assert "dead-letters" in fish
    for shell in SHELLS:
        script = _milepost("completion", shell)
        assert f"_MILEPOST_COMPLETE={shell}_complete" in script
        if (found := shutil.which(shell)) is not None:
            subprocess.run([found, "-n", "-c", script], check=True)


def test_words_of_the_api_are_left_out_while_it_does_not_answer(tmp_path: Path) -> None:
    env = {"COMP_WORDS": "milepost submit demo", "COMP_CWORD": "2", "_MILEPOST_COMPLETE": "bash_complete"}
    env |= {"MILEPOST_URL": "http://127.0.0.1:9", "MILEPOST_API_KEY": "key", "MILEPOST_HOME": str(tmp_path)}
    assert not _milepost(env=env).strip()


def test_completing_a_command_imports_none(tmp_path: Path) -> None:
    code = (
        "import atexit, sys; from milepost.cli.__main__ import main;"
        "atexit.register(lambda: print([m for m in sys.modules if m in {'aiohttp', 'rich', 'asyncpg'}])); main([])"
    )
    env = {"COMP_WORDS": "milepost dead", "COMP_CWORD": "1", "_MILEPOST_COMPLETE": "bash_complete"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | env | {"MILEPOST_HOME": str(tmp_path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "plain,dead-letters\n[]\n"
