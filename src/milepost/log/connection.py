"""How every Kafka client of ours connects."""

import ssl
from typing import Any

from milepost.errors import SettingsError
from milepost.runtime.settings import Settings


def connection(settings: Settings) -> dict[str, Any]:
    """Return the arguments every aiokafka client takes from the settings."""
    arguments: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_bootstrap,
        # Connection set-up holds one lock in aiokafka: longer waits for one broker delay the others.
        "request_timeout_ms": 10_000,
        "security_protocol": settings.kafka_security_protocol,
    }
    if settings.kafka_security_protocol.endswith("SSL"):
        arguments["ssl_context"] = _tls(settings)
    if settings.kafka_security_protocol.startswith("SASL"):
        password = settings.kafka_sasl_password
        arguments |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": settings.kafka_sasl_username,
            "sasl_plain_password": password.get_secret_value() if password else None,
        }
    return arguments


def _tls(settings: Settings) -> ssl.SSLContext:
    """Return how brokers are told from strangers. Raises SettingsError for files that cannot be used."""
    try:
        context = ssl.create_default_context(cafile=settings.kafka_ssl_cafile)
        if settings.kafka_ssl_certfile is not None:
            context.load_cert_chain(settings.kafka_ssl_certfile, settings.kafka_ssl_keyfile)
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(
            f"The certificates for Kafka cannot be used: {error}. Check MILEPOST_KAFKA_SSL_CAFILE, "
            "MILEPOST_KAFKA_SSL_CERTFILE and MILEPOST_KAFKA_SSL_KEYFILE: PEM files that this user can read."
        ) from error
    return context
