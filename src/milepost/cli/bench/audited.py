"""The audit after a benchmark."""

from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from milepost.audit import Record, Verdict, audit
from milepost.audit.read_store import install_journal
from milepost.runtime.settings import Settings

_WITHIN_S = 60.0


class Audited:
    """What clients of a benchmark saw, and the servers to compare it with."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.record = Record()

    @classmethod
    async def begin(cls, servers: Mapping[str, str]) -> "Audited":
        """Let the database keep a journal from now on; `servers` are the variables that say where they are."""
        url = servers["MILEPOST_DATABASE_URL"]
        await install_journal(url)
        overrides: dict[str, Any] = {
            "database_url": SecretStr(url),
            "kafka_bootstrap": servers["MILEPOST_KAFKA_BOOTSTRAP"],
            "kafka_security_protocol": "PLAINTEXT",
        }
        return cls(Settings.load(**overrides))

    async def verdict(self) -> Verdict:
        """Wait for the last completions and check everything. Raises Unavailable."""
        return (await audit(self._settings, self.record, within_s=_WITHIN_S))[0]
