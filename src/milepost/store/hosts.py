"""Which of the hosts of a database URL takes writes, and how often one asks."""

import asyncio
import errno
import re
from enum import Enum
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg

from milepost.errors import NoServer, Unavailable
from milepost.runtime.lifecycle import jittered
from milepost.runtime.logs import get_logger

log = get_logger("milepost.store.hosts")

HOST_S = 2.0
"""One of several hosts has so long to take a connection: one that was cut off must not keep us from the next."""
ONLY_HOST_S = 5.0
RETRY_CAP_S = 1.0


class _Said(Enum):
    """What a host that was not fit said of itself."""

    NOBODY_HERE = "nobody here"
    NOT_NOW = "not now"
    NOTHING = "nothing"


class Hosts:
    """Connects to the host that takes writes: the one that did last, else the others in order.

    A standby and a primary that was demoted (`default_transaction_read_only`) are refused: they would answer with what
    was true once. While no host is fit, connecting fails at once, and one caller tries again after a wait that grows
    to `RETRY_CAP_S`, with jitter: a thousand requests are no reason for a thousand connections.
    """

    def __init__(self, url: str, *, logs: bool = False) -> None:
        """`logs`: changes are logged; whoever connects once is told by the exception."""
        self._logs = logs
        self._urls = single_urls(url)
        self._best = 0
        self._attempt = 0
        self._retry_at = 0.0
        self._why = ""

    async def connect(self, _url: str | None = None, /, **options: Any) -> "asyncpg.Connection[Any]":
        """Return a connection that takes writes.

        Raises Unavailable, and nothing is opened then; NoServer, if every host says that it is none for anybody.
        """
        loop = asyncio.get_running_loop()
        if self._attempt:
            if loop.time() < self._retry_at:
                raise Unavailable(self._why)
            # This caller tries; the others fail as before until it knows.
            self._retry_at = loop.time() + self._patience * len(self._urls)
        try:
            connection = await self.connect_now(self._patience, **options)
        except Unavailable as error:
            if self._logs and not self._attempt:
                log.warning("no Postgres to write to", why=str(error))
            self._why = str(error)
            self._retry_at = loop.time() + jittered(self._attempt, base=0.05, cap=RETRY_CAP_S)
            self._attempt += 1
            raise
        if self._logs and self._attempt:
            log.info("Postgres is back", host=_shown(self._urls[self._best]), attempts=self._attempt)
        self._attempt = 0
        return connection

    @property
    def _patience(self) -> float:
        return ONLY_HOST_S if len(self._urls) == 1 else HOST_S

    async def connect_now(self, patience_s: float | None = None, /, **options: Any) -> "asyncpg.Connection[Any]":
        """Return a connection that takes writes, whatever the last try found; a host has `patience_s` to give one.

        Raises what `connect` does.
        """
        patience = self._patience if patience_s is None else patience_s
        findings: list[str] = []
        said: set[_Said] = set()
        for number in [self._best, *(n for n in range(len(self._urls)) if n != self._best)]:
            url = self._urls[number]
            try:
                connection: asyncpg.Connection[Any] = await asyncpg.connect(
                    url, **(options | {"timeout": patience, "target_session_attrs": "read-write"})
                )
            except asyncpg.TargetServerAttributeNotMatched:
                findings.append(f"{_shown(url)} takes no writes (a standby, or a demoted primary)")
                said.add(_Said.NOT_NOW)
            except TimeoutError:
                findings.append(f"{_shown(url)} did not answer within {patience:g} s")
                said.add(_Said.NOTHING)
            except (OSError, asyncpg.PostgresError, asyncpg.InternalClientError, asyncpg.InterfaceError) as error:
                if len(self._urls) == 1 and isinstance(error, _OURS_TO_MEND):
                    raise
                findings.append(f"{_shown(url)}: {str(error) or type(error).__name__}")
                said.add(_said(error))
            else:
                if self._logs and number != self._best:
                    log.warning("Postgres is another host now", host=_shown(url))
                self._best = number
                return connection
        message = f"Postgres did not answer ({'; '.join(findings)}). Try again in a moment."
        if _Said.NOTHING in said:
            raise Unavailable(message)
        raise NoServer(message, gone=_Said.NOBODY_HERE in said)


_OURS_TO_MEND = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidPasswordError,
    asyncpg.InvalidCatalogNameError,
)
"""A wrong password or database is no better in a moment, and the message of Postgres says best what it is."""


_URL: Final = re.compile(r"([^:/?#]+://(?:[^/?#]*@)?)([^/?#@]*)(.*)", re.DOTALL)
"""What stands before the hosts, the hosts, and the rest, as RFC 3986 (appendix B) takes a URL apart."""


def _said(error: Exception) -> _Said:
    if isinstance(error, (asyncpg.CannotConnectNowError, asyncpg.AdminShutdownError, asyncpg.CrashShutdownError)):
        return _Said.NOT_NOW
    return _Said.NOBODY_HERE if _refused(error) else _Said.NOTHING


def _refused(error: Exception) -> bool:
    """Whether no process listens at any address of a host."""
    if isinstance(error, ConnectionRefusedError):
        return True
    # asyncio makes one OSError, without a number, of those of several addresses (localhost has two).
    text = str(error)
    return isinstance(error, OSError) and 0 < text.count("[Errno ") == text.count(f"[Errno {errno.ECONNREFUSED}]")


def single_urls(url: str) -> list[str]:
    """Return a URL for each host of `url`, in order; itself if it names none or one."""
    # Not urlsplit: newer ones refuse a list of hosts in which one is an IPv6 address, which libpq and asyncpg take.
    found = _URL.fullmatch(url)
    if found is None:
        return [url]
    before, hosts, rest = found.groups()
    return [f"{before}{host}{rest}" for host in hosts.split(",")]


def _shown(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2] or "Postgres"
