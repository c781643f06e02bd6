"""Receivers with certificates of an authority of these tests, and names that lead where a test wants."""

import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from milepost.runtime.settings import Settings
from milepost.webhooks.outgoing import Outgoing
from tests.names import Names, answering
from tests.receiver import Receiver, receiving

HERE = "127.0.0.2"
"""Where receivers listen: the one network that these tests open. 127.0.0.1 stays closed."""
NAME = "hooks.example"

MakeOutgoing = Callable[..., Outgoing]


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def certified(authority: trustme.CA) -> Callable[[str], ssl.SSLContext]:
    """Return what makes a server's side of TLS for a name."""

    def make(name: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(context)
        return context

    return make


@pytest.fixture
async def names() -> AsyncIterator[Names]:
    async with answering() as running:
        running.table[NAME] = [[HERE]]
        yield running


@pytest.fixture
async def receiver(certified: Callable[[str], ssl.SSLContext]) -> AsyncIterator[Receiver]:
    async with receiving(HERE, certified(NAME)) as running:
        yield running


@pytest.fixture
def webhook_settings(names: Names, authority: trustme.CA, tmp_path: Path) -> dict[str, Any]:
    """Return settings by which the receivers here can be reached."""
    trusted = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(trusted))
    return {
        "webhook_ports": ["*"],
        "webhook_networks": [f"{HERE}/32"],
        "webhook_nameservers": [names.server],
        "webhook_cafile": trusted,
        "webhook_timeout": 15.0,
    }


@pytest.fixture
async def outgoing(webhook_settings: dict[str, Any]) -> AsyncIterator[MakeOutgoing]:
    opened: list[Outgoing] = []

    def make(**overrides: Any) -> Outgoing:
        opened.append(Outgoing(Settings.load(**{**webhook_settings, **overrides})))
        return opened[-1]

    yield make
    for each in opened:
        await each.close()
