"""How every Kafka client of ours connects."""

import ssl
from typing import Any

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
        cafile = str(settings.kafka_ssl_cafile) if settings.kafka_ssl_cafile else None
        arguments["ssl_context"] = ssl.create_default_context(cafile=cafile)
    if settings.kafka_security_protocol.startswith("SASL"):
        password = settings.kafka_sasl_password
        arguments |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": settings.kafka_sasl_username,
            "sasl_plain_password": password.get_secret_value() if password else None,
        }
    return arguments
