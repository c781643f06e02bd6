"""Settings that cannot be meant together are refused, in one message that names both."""

from pathlib import Path
from typing import Any

import pytest

from milepost.errors import SettingsError
from milepost.runtime.settings import Settings

SASL: dict[str, Any] = {"kafka_sasl_username": "u", "kafka_sasl_password": "hunter2"}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"lease": 6, "renew": 5}, "MILEPOST_LEASE (6 s) must be at least twice MILEPOST_RENEW (5 s)"),
        ({"retry_cap": 0.5}, "MILEPOST_RETRY_BASE (1) is more than MILEPOST_RETRY_CAP (0.5)"),
        ({"retry_base": 9, "retry_cap": 8}, "MILEPOST_RETRY_BASE (9) is more than MILEPOST_RETRY_CAP (8)"),
        ({"max_connections": 5, "max_pending_hellos": 6}, "MILEPOST_MAX_PENDING_HELLOS (6) is more than MILEPOST_MAX_"),
        ({"retention": "forever", "retention_failed": 7200}, "MILEPOST_RETENTION (forever) is more than MILEPOST_RETE"),
        ({"kafka_security_protocol": "SASL_SSL"}, "SASL_SSL, and MILEPOST_KAFKA_SASL_PASSWORD is missing"),
        (
            {**SASL, "kafka_security_protocol": "SASL_PLAINTEXT", "kafka_sasl_mechanism": "PLAIN"},
            "SASL_MECHANISM PLAIN",
        ),
        (SASL, "MILEPOST_KAFKA_SECURITY_PROTOCOL is PLAINTEXT, and MILEPOST_KAFKA_SASL_PASSWORD is given"),
        ({"kafka_ssl_cafile": "/x"}, "PROTOCOL is PLAINTEXT, and MILEPOST_KAFKA_SSL_CAFILE is given"),
        ({"kafka_security_protocol": "SSL", "kafka_ssl_cafile": "/no/where"}, "SSL_CAFILE (/no/where) cannot be read"),
        (
            {"kafka_security_protocol": "SSL", "kafka_ssl_keyfile": __file__},
            "SSL_KEYFILE is given, and MILEPOST_KAFKA_",
        ),
        ({"notifier_port": 8002}, "MILEPOST_NOTIFIER_PORT (8002) and MILEPOST_NOTIFIER_HTTP_PORT are the same"),
        ({"metrics_port": 9, "api_port": 9}, "MILEPOST_METRICS_PORT (9) and MILEPOST_API_PORT are the same"),
        ({"url": "https://a", "stream_url": "ws://a"}, "MILEPOST_STREAM_URL with ws://"),
        ({"url": "https://a", "events_url": "http://a"}, "MILEPOST_EVENTS_URL with http://"),
        ({"trusted_proxies": "::/0", "max_connections_per_address": 5}, "MILEPOST_TRUSTED_PROXIES trusts everybody"),
    ],
)
def test_what_contradicts_itself_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        Settings.load(**values)
    assert said in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


def test_all_contradictions_are_named_at_once() -> None:
    with pytest.raises(SettingsError) as refusal:
        Settings.load(lease=1, retry_cap=0.5, notifier_port=8002)
    assert len(str(refusal.value).splitlines()) == 4


def test_what_can_be_meant_is_not_refused(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.touch()
    Settings.load(kafka_security_protocol="SASL_SSL", kafka_ssl_cafile=file, **SASL)
    Settings.load(max_connections=5)  # what is left of the others' defaults is no contradiction
    Settings.load(url="https://a.example")  # all that a client has to know
    Settings.load(retention="forever")
    Settings.load(notifier_port=0, notifier_http_port=0)
    Settings.load(trusted_proxies="10.0.0.0/8", max_connections_per_address=5)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("database_url", "mysql://u:hunter2@h/d", "should begin with postgresql:// or postgres://"),
        ("redis_url", "hunter2@h", "should begin with redis:// or rediss:// or unix://"),
        ("stream_url", "https://h", "should begin with ws:// or wss://"),
        ("url", "h:8000", "should begin with http:// or https://"),
    ],
)
def test_an_address_of_another_kind_is_refused_without_being_shown(name: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        Settings.load(**{name: value})
    assert f"MILEPOST_{name.upper()}: {said}" in str(refusal.value)
    assert "hunter2" not in str(refusal.value)
