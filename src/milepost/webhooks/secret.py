"""Secrets of webhooks, as Standard Webhooks writes them."""

import secrets
from base64 import b64encode
from typing import Final

BYTES: Final = 32
PREFIX: Final = "whsec_"


def new_secret() -> str:
    """Return a fresh secret: 256 bits of chance."""
    return PREFIX + b64encode(secrets.token_bytes(BYTES)).decode()
