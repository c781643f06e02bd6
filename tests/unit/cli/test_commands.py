"""The command line from outside: arguments, exit statuses, what is written."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import click
import pytest

from milepost.cli.__main__ import TABLE, main, milepost
from milepost.cli.exits import Exit, exit_of
from milepost.cli.options import labels_of, payload_of
from milepost.client import Client, Run
from milepost.errors import MilepostError, Refused, SettingsError, TaskFailed, Unavailable, Unreachable


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MILEPOST_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", TABLE)
def test_every_command_exists_and_its_line_of_help_is_short(name: str) -> None:
    module, _, attribute = TABLE[name][0].partition(":")
    command = getattr(import_module(module), attribute)
    assert isinstance(command, click.Command)
    assert command.name == name
    assert len(TABLE[name][1]) < 70


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    written = capsys.readouterr().out
    assert all(f"\n  {name} " in written for name in TABLE)


def test_help_imports_no_command_and_no_service() -> None:
    code = (
        "import sys; from milepost.cli.__main__ import main; main(['--help']);"
        "print([m for m in sys.modules if m.split('.')[0] in {'aiohttp', 'asyncpg', 'aiokafka', 'redis', 'rich'}])"
    )
    written = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert written.endswith("[]\n")


@pytest.mark.parametrize(
    "argv",
    [
        ["nonsense"],
        ["get"],
        ["watch"],
        ["list", "--state", "asleep"],
        ["list", "--limit", "0"],
        ["keys", "create"],
        ["keys", "create", "x", "--scope", "root"],
        ["keys", "create", "x", "--expires-in", "soon"],
        ["keys", "create", "x", "--expires-in", "0d"],
        ["keys", "revoke", "x"],
        ["submit", "demo.count", "--wait", "--watch"],
        ["submit", "demo.count", "--payload", "{"],
        ["submit", "demo.count", "--payload", "[1]"],
        ["submit", "demo.count", "--payload", "@missing.json"],
        ["submit", "demo.count", "--label", "novalue"],
        ["submit", "demo.count", "--max-attempts", "0"],
        ["queues", "set", "mail"],
        ["queues", "set", "mail", "--rate", "often"],
        ["queues", "set", "mail", "--rate", "0/1m"],
        ["queues", "set", "mail", "--no-limit", "--concurrency", "1"],
        ["queues", "pause"],
        ["explain"],
        ["dev", "--workers", "0"],
        ["dev", "--port-base", "80"],
        ["demo"],
        ["get", "01941f29-7c00-7d3e-8a5b-0242ac120002"],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2_and_one_readable_message(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err
    assert "Traceback" not in captured.err


def test_a_command_that_is_almost_one_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sumbit", "demo.count"]) == 2
    assert "Did you mean 'submit'?" in capsys.readouterr().err


def test_who_waits_for_an_api_that_is_away_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MILEPOST_API_KEY", "key")
    monkeypatch.setenv("MILEPOST_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("milepost.client.http.REPEAT_S", 1.2)
    assert main(["list"]) == 3
    waiting, given_up = capsys.readouterr().err.splitlines()
    assert waiting.endswith("Trying again for up to 1 s.")
    assert "does not answer" in given_up
    assert "`milepost dev` starts one" in given_up


def test_who_loses_sight_of_a_task_is_told_that_it_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    id_ = "01941f29-7c00-7d3e-8a5b-0242ac120002"

    async def accepted(client: Client, *_: object, **__: object) -> Run:
        run = client.run(id_)
        monkeypatch.setattr(type(run), "known", True)
        return run

    async def lost(*_: object, **__: object) -> Exit:
        raise Unreachable("Nobody answers.")

    monkeypatch.setenv("MILEPOST_API_KEY", "key")
    monkeypatch.setattr(Client, "submit", accepted)
    monkeypatch.setattr("milepost.cli.commands.submit.follow", lost)
    assert main(["submit", "demo.count", "--watch"]) == 3
    assert capsys.readouterr().err.splitlines() == [
        f"Task {id_}",
        "milepost: Nobody answers.",
        f"What was accepted is kept, and goes on. Watch again with: milepost watch {id_}",
    ]


def test_nobody_there_ends_with_3(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MILEPOST_API_KEY", "key")
    monkeypatch.setenv("MILEPOST_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("milepost.client.http.REPEAT_S", 0.1)
    assert main(["get", "01941f29-7c00-7d3e-8a5b-0242ac120002"]) == 3
    assert "does not answer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (TaskFailed("", None), Exit.FAILED),
        (Unreachable(), Exit.UNREACHABLE),
        (Unavailable(), Exit.UNREACHABLE),
        (Refused(503, "", ""), Exit.UNREACHABLE),
        (Refused(429, "", ""), Exit.UNREACHABLE),
        (Refused(422, "", ""), Exit.USAGE),
        (SettingsError(), Exit.USAGE),
    ],
    ids=repr,
)
def test_each_error_has_its_status(error: MilepostError, status: Exit) -> None:
    assert exit_of(error) is status


def test_a_service_that_is_not_installed_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("milepost.cli.commands.services.entry_points", lambda **_: ())
    assert main(["worker"]) == 2
    assert "pip install milepost-worker" in capsys.readouterr().err


def test_a_service_gets_its_arguments_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    class Point:
        def load(self) -> Callable[[list[str]], int]:
            return self.main

        def main(self, argv: list[str]) -> int:
            seen.append(argv)
            return 7

    monkeypatch.setattr("milepost.cli.commands.services.entry_points", lambda **_: (Point(),))
    assert main(["worker", "--tasks", "a,b", "--concurrency", "3", "--help"]) == 7
    assert seen == [["--tasks", "a,b", "--concurrency", "3", "--help"]]


def test_doctor_says_what_to_do_and_ends_with_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nobody = "127.0.0.1:9"
    monkeypatch.setenv("MILEPOST_DATABASE_URL", f"postgresql://x@{nobody}/x")
    monkeypatch.setenv("MILEPOST_KAFKA_BOOTSTRAP", nobody)
    monkeypatch.setenv("MILEPOST_REDIS_URL", f"redis://{nobody}/0")
    monkeypatch.setenv("MILEPOST_URL", f"http://{nobody}")
    monkeypatch.setenv("MILEPOST_NOTIFIER_HTTP_PORT", "9")
    monkeypatch.setenv("MILEPOST_API_KEY", "key")
    assert main(["doctor", "--json"]) == 3
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False
    unwell = {row["name"] for row in report["checks"] if not row["ok"]}
    assert unwell == {"postgres", "kafka", "redis", "api", "notifier", "workers"}
    assert all(row["advice"] for row in report["checks"] if not row["ok"])


def test_payloads_come_as_text_file_or_standard_input(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text('{"a": 1}')
    assert payload_of('{"a": 1}') == payload_of("@p.json") == {"a": 1}
    assert payload_of(None) is None
    assert labels_of(["a=b=c", "d="]) == {"a": "b=c", "d": ""}


def test_the_group_is_named_as_the_program() -> None:
    assert milepost.name == "milepost"
