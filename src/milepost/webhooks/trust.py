"""Whose certificates receivers may have."""

import ssl

from milepost.errors import SettingsError
from milepost.runtime.settings import Settings


def tls_context(settings: Settings) -> ssl.SSLContext:
    """Return our side of TLS with receivers. Raises SettingsError if the authorities cannot be read."""
    trusted = settings.webhook_cafile
    if trusted is None:
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cafile=str(trusted))
    except OSError as error:  # also what OpenSSL says of a file without certificates
        why = "no certificates in it" if isinstance(error, ssl.SSLError) else error.strerror
        raise SettingsError(
            f"MILEPOST_WEBHOOK_CAFILE: {trusted} cannot be used ({why}). Name a file of the authorities' certificates "
            "in PEM that this user may read, or leave the variable out for the system's."
        ) from error
