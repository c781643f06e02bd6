"""Settings and their refusals."""

import pycares
import pytest

from milepost.errors import SettingsError
from milepost.runtime.settings import Settings


def test_every_wrong_setting_is_named_in_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILEPOST_API_PORT", "eighty")
    monkeypatch.setenv("MILEPOST_CONCURRENCY", "0")
    with pytest.raises(SettingsError) as refusal:
        Settings.load()
    text = str(refusal.value)
    assert "MILEPOST_API_PORT" in text
    assert "MILEPOST_CONCURRENCY" in text
    assert "nothing was started" in text


def test_a_misspelt_setting_is_named_with_what_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILEPOST_DATABASE_ULR", "postgresql://u:hunter2@h/d")
    with pytest.raises(SettingsError, match="MILEPOST_DATABASE_URL") as refusal:
        Settings.load()
    assert "hunter2" not in str(refusal.value)


def test_a_lease_that_one_late_renewal_would_lose_is_refused() -> None:
    with pytest.raises(SettingsError, match="MILEPOST_LEASE"):
        Settings.load(lease=6, renew=5)


def test_secrets_are_not_in_messages_or_representations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILEPOST_API_KEY", "mp_secret")
    monkeypatch.setenv("MILEPOST_DATABASE_URL", "postgresql://u:hunter2@h/d")
    settings = Settings.load()
    assert "mp_secret" not in repr(settings)
    assert "hunter2" not in repr(settings)
    monkeypatch.setenv("MILEPOST_API_PORT", "hunter3")
    with pytest.raises(SettingsError) as refusal:
        Settings.load()
    assert "hunter3" not in str(refusal.value)


def test_lists_are_written_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILEPOST_TASKS", "a.b, c.d")
    assert Settings.load().tasks == ["a.b", "c.d"]


@pytest.mark.parametrize(
    "origin",
    [
        "*", "null", "https://*.example", "app.example", "https://app.example/", "https://App.example",
        "https://app.example:", "https://u@app.example", "https://", "https://app.example\nx",
    ],
)  # fmt: skip
def test_an_origin_that_no_browser_sends_or_every_page_has_is_refused(origin: str) -> None:
    with pytest.raises(SettingsError, match="MILEPOST_ALLOWED_ORIGINS"):
        Settings.load(_env_file=None, allowed_origins=[origin])


def test_origins_are_as_browsers_send_them() -> None:
    given = ["https://app.example", "http://localhost:8080", "http://[::1]:3000", "chrome-extension://abcdef"]
    assert Settings.load(_env_file=None, allowed_origins=given).allowed_origins == given


@pytest.mark.parametrize("servers", ["10.0.0.53", "10.0.0.53:5353,fd00::53", "[fd00::53]:53"])
def test_name_servers_are_addresses(monkeypatch: pytest.MonkeyPatch, servers: str) -> None:
    monkeypatch.setenv("MILEPOST_WEBHOOK_NAMESERVERS", servers)
    given = Settings.load().webhook_nameservers
    assert given == servers.split(",")
    # What is let through is what the resolver takes.
    pycares.Channel(servers=given).close()


@pytest.mark.parametrize("server", ["dns.example", "10.0.0.53:x", "10.0.0.53:0", "10.0.0.53:65536", "1.2.3", "fd00::x"])
def test_a_name_server_that_is_no_address_is_refused(monkeypatch: pytest.MonkeyPatch, server: str) -> None:
    monkeypatch.setenv("MILEPOST_WEBHOOK_NAMESERVERS", f"10.0.0.53,{server}")
    with pytest.raises(SettingsError, match=f"MILEPOST_WEBHOOK_NAMESERVERS: {server} is no server; write addresses"):
        Settings.load()
