"""The command line that needs no server."""

import json
import sys
from pathlib import Path

import pytest

from examples.repository_analysis.__main__ import main
from tests.unit.repository_analysis.helpers import commit


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command line with these arguments."""
    monkeypatch.setattr(sys, "argv", ["repository_analysis", *arguments])
    return main()


def test_it_prints_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commit(tmp_path, {"test_a.py": "def test_a(): ...\n"})
    assert run(monkeypatch, str(tmp_path)) == 0
    assert "1 test in 1 file" in capsys.readouterr().out


def test_it_writes_json_with_every_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commit(tmp_path, {"test_a.py": "def test_a(): ...\n"})
    assert run(monkeypatch, str(tmp_path), "--json", "--cases") == 0
    assert json.loads(capsys.readouterr().out)["cases"][0]["name"] == "test_a"


def test_it_says_why_there_is_no_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, str(tmp_path)) == 1
    assert "git repository" in " ".join(capsys.readouterr().err.split())
    assert run(monkeypatch, "ext::sh -c id") == 2
    assert "Refused" in capsys.readouterr().err
