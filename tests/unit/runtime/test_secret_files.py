"""Secrets come from files too, and no message shows what is in one."""

import os
from pathlib import Path

import pytest

from milepost.errors import SettingsError
from milepost.runtime.secret_files import secret_names
from milepost.runtime.settings import Settings

LONG = "hunter2-" * 5


def _named(monkeypatch: pytest.MonkeyPatch, path: Path, setting: str, content: bytes | None) -> None:
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv(f"MILEPOST_{setting.upper()}_FILE", str(path))


def _refused() -> str:
    with pytest.raises(SettingsError) as refusal:
        Settings.load()
    assert "hunter2" not in str(refusal.value)
    return str(refusal.value)


def test_every_secret_is_known() -> None:
    assert set(secret_names(Settings.model_fields)) == {
        "database_url", "redis_url", "api_key", "kafka_sasl_password", "token_secret", "token_secrets_old",
    }  # fmt: skip


def test_secrets_are_read_without_the_end_of_the_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _named(monkeypatch, tmp_path / "key", "api_key", b"mp_hunter2\r\n")
    _named(monkeypatch, tmp_path / "url", "database_url", b"postgresql://u:hunter2@h/d\n")
    _named(monkeypatch, tmp_path / "old", "token_secrets_old", f"{LONG}1\n{LONG}2\n".encode())
    settings = Settings.load()
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == "mp_hunter2"
    assert settings.database_url.get_secret_value() == "postgresql://u:hunter2@h/d"
    assert [secret.get_secret_value() for secret in settings.token_secrets_old] == [f"{LONG}1", f"{LONG}2"]
    assert "api_key" in settings.model_fields_set
    assert "hunter2" not in repr(settings)


def test_a_secret_given_twice_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _named(monkeypatch, tmp_path / "key", "api_key", b"hunter2")
    monkeypatch.setenv("MILEPOST_API_KEY", "hunter2")
    assert "MILEPOST_API_KEY_FILE: MILEPOST_API_KEY is given too" in _refused()
    monkeypatch.setenv("MILEPOST_API_KEY", "")
    assert Settings.load().api_key is not None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"\n", "is empty"),
        (b"hunter2\xff", "is not text in UTF-8"),
        (b"hunter2" * 10_000, "is too large to be a secret"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None, said: str
) -> None:
    _named(monkeypatch, tmp_path / "secret", "token_secret", content)
    assert f"MILEPOST_TOKEN_SECRET_FILE: {tmp_path / 'secret'} {said}" in _refused()


def test_a_file_of_a_secret_that_is_too_short_or_of_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _named(monkeypatch, tmp_path / "secret", "token_secret", b"hunter2\n")
    monkeypatch.setenv("MILEPOST_HOST_FILE", os.devnull)
    text = _refused()
    assert "MILEPOST_TOKEN_SECRET: is shorter than 32 bytes" in text
    assert "MILEPOST_HOST_FILE: there is no such setting" in text


def test_a_file_can_be_named_in_the_file_of_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("mp_hunter2\n")
    (tmp_path / ".env").write_text(f"MILEPOST_API_KEY_FILE={tmp_path / 'key'}\n")
    monkeypatch.setitem(Settings.model_config, "env_file", str(tmp_path / ".env"))
    assert Settings.load().api_key is not None
    (tmp_path / ".env").write_text(f"MILEPOST_API_KEY_FILE={tmp_path / 'key'}\nMILEPOST_API_KEY=hunter2\n")
    assert "MILEPOST_API_KEY is given too" in _refused()
