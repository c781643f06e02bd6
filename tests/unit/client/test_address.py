"""Where the client looks for the API and its key."""

from pathlib import Path

import pytest

from milepost.client.address import find_address, parse_environment
from milepost.errors import SettingsError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import os

    for name in [name for name in os.environ if name.startswith("MILEPOST_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    found = tmp_path / ".milepost"
    (found / "run").mkdir(parents=True)
    return found


def test_what_is_given_wins(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "key").write_text("from-file\n")
    monkeypatch.setenv("MILEPOST_API_KEY", "from-environment")
    address = find_address("https://api.example/", "given")
    assert (address.url, address.key, address.stream_url) == ("https://api.example", "given", None)


def test_the_environment_comes_before_the_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "key").write_text("from-file\n")
    (home / "run" / "env").write_text("export MILEPOST_URL=http://127.0.0.1:1\n")
    monkeypatch.setenv("MILEPOST_API_KEY", "from-environment")
    monkeypatch.setenv("MILEPOST_URL", "http://127.0.0.1:2")
    address = find_address()
    assert (address.url, address.key) == ("http://127.0.0.1:2", "from-environment")


def test_a_stack_that_runs_in_the_home_is_found(home: Path) -> None:
    (home / "key").write_text("from-file\n")
    (home / "run" / "env").write_text(
        "export MILEPOST_URL=http://127.0.0.1:8100\nexport MILEPOST_STREAM_URL='ws://127.0.0.1:8101/v1/stream'\n"
    )
    address = find_address()
    assert (address.url, address.key) == ("http://127.0.0.1:8100", "from-file")
    assert address.stream_url == "ws://127.0.0.1:8101/v1/stream"


def test_the_key_of_this_machine_is_not_sent_elsewhere(home: Path) -> None:
    (home / "key").write_text("from-file\n")
    with pytest.raises(SettingsError, match="There is no key for https://elsewhere"):
        find_address("https://elsewhere.example")


def test_without_a_key_it_says_where_to_get_one() -> None:
    with pytest.raises(SettingsError, match="milepost dev"):
        find_address()


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ws://x", "http://"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="is not the address of an API"):
        find_address(url, "key")


def test_an_address_that_names_the_version_says_how_to_write_it() -> None:
    with pytest.raises(SettingsError, match=r"Write http://127\.0\.0\.1:8000$"):
        find_address("http://127.0.0.1:8000/v1/", "key")


def test_the_key_is_not_shown() -> None:
    assert "secret" not in repr(find_address("http://127.0.0.1:1", "secret"))


def test_environment_files_are_read_as_a_shell_would() -> None:
    text = "# made by dev\nexport A=1\nB='two words'\nexport C=\"x=y\"\nnot an assignment\nexport D='open\n"
    assert parse_environment(text) == {"A": "1", "B": "two words", "C": "x=y"}
