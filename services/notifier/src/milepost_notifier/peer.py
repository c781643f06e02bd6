"""What the edge needs of a client, however that is connected."""

import asyncio
from typing import Protocol

from milepost_notifier.admission import Visit
from milepost_notifier.session import Session


class Peer(Protocol):
    """One client: a session, and a line that is written to without ever waiting."""

    session: Session | None
    """None before it began and after it is over."""
    visit: Visit

    @property
    def transport_name(self) -> str:
        """Return `websocket` or `sse`."""
        ...

    @property
    def closing(self) -> asyncio.Future[None] | None:
        """Done when the goodbye is said; None while there is none."""
        ...

    def write_out(self) -> None:
        """Write as much of the outbox as the line takes now, then close if the session says so."""
        ...
