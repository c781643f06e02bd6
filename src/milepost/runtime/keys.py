"""API keys: how they are made, and what a process remembers of those it has seen. Postgres keeps them, not us."""

import asyncio
import hashlib
import re
import secrets
import string
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple, Protocol, TypeVar
from uuid import UUID

from milepost.domain.quotas import UNBOUNDED, Quotas
from milepost.errors import MilepostError, Unavailable
from milepost.runtime.batching import GroupCommit
from milepost.runtime.logs import get_logger

REFRESH_S: Final = 1.0
"""Revocations are looked for this often; they are promised to hold within five seconds."""
OVERLAP: Final = timedelta(seconds=30)
"""Looked back so far each time: what was being committed then shows only now."""
REVOKED_S: Final = 65 * 60.0
"""A revoked key is remembered for longer than any token that was made with it can last."""
USED_S: Final = 60.0
"""Uses are written this often."""
KNOWN_MOST: Final = 10_000
TENANTS_MOST: Final = 10_000
UNKNOWN_MOST: Final = 10_000
UNKNOWN_S: Final = 30.0
"""What is no key is not asked for again so soon."""
_LETTERS: Final = string.ascii_letters + string.digits
_FORM: Final = re.compile(r"mp_[A-Za-z0-9]{8}_[A-Za-z0-9]{43}")

log = get_logger("milepost.keys")

K = TypeVar("K")
V = TypeVar("V")


class KeyEnded(MilepostError):
    """A key of ours that is not good any more."""


class NewSecret(NamedTuple):
    """A key that was just made: shown once, and kept as its digest."""

    key: str
    prefix: str
    digest: bytes


class KeyRow(NamedTuple):
    """What Postgres knows of a key. Times are Unix times, None for never. `quotas` are the tenant's own."""

    id: UUID
    digest: bytes
    tenant: str
    scopes: frozenset[str]
    expires_at: float | None
    revoked: bool
    quotas: Quotas = UNBOUNDED


class Changes(NamedTuple):
    """What changed up to `at`, by the database's clock: keys that were revoked, and quotas of tenants."""

    at: datetime
    revoked: Sequence[UUID]
    tenants: Sequence[tuple[str, Quotas]]


class KeySource(Protocol):
    """Where keys are kept. Every method raises Unavailable while that is away."""

    async def find_keys(self, digests: Sequence[bytes]) -> Sequence[KeyRow | None]:
        """Return the key of each digest, in order; None where there is none."""
        ...

    async def keys_changed(self, since: datetime | None, tenants: Sequence[str]) -> Changes:
        """Return what changed since then (None: in the last hour), and the quotas of these tenants in any case."""
        ...

    async def keys_used(self, keys: Iterable[UUID]) -> None:
        """Write that these were used just now."""
        ...


def new_secret() -> NewSecret:
    """Make a key: `mp_`, eight characters by which people know it, and 43 of 62 kinds, which are 256 bits."""
    prefix = "mp_" + _some(8)
    key = f"{prefix}_{_some(43)}"
    return NewSecret(key, prefix, digest_of(key))


def _some(count: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(count))


def digest_of(key: str) -> bytes:
    """Return what a key is found by."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def is_formed(text: str) -> bool:
    """Whether this could be a key that was made here. Anything else is asked for nowhere."""
    return _FORM.fullmatch(text) is not None


class KeyRing:
    """The keys this process has seen, kept up to date by one small statement a second.

    A key is found by its digest, so what is remembered is of no use to who reads our memory or the table, and how long
    a look-up takes says nothing of a key. Keys that were not seen before are looked up together, one statement at a
    time, however many guess at once.
    """

    def __init__(
        self,
        source: KeySource,
        *,
        defaults: Quotas = UNBOUNDED,
        refresh_every: float = REFRESH_S,
        used_every: float = USED_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`defaults` are the quotas of tenants that have none of their own."""
        self._source = source
        self.defaults = defaults
        self._refresh_every = refresh_every
        self._used_every = used_every
        self._clock = clock
        self._known: dict[bytes, KeyRow] = {}
        self._unknown: dict[bytes, float] = {}
        self._revoked: dict[UUID, float] = {}
        self._quotas: dict[str, Quotas] = {}
        self._asked_for: set[str] = set()
        """Tenants whose quotas were wanted and are not known yet."""
        self._since: datetime | None = None
        self._used: set[UUID] = set()
        self._look_up = GroupCommit(source.find_keys, limit=500, lanes=1)
        self.on_revoked: Callable[[frozenset[UUID]], None] = lambda _keys: None
        """Called with keys that were found revoked, once for each."""

    def get(self, key: str) -> KeyRow | None:
        """Return a key of ours that `learn` has seen; None for anything else. Raises KeyEnded."""
        row = self._known.get(digest_of(key))
        if row is None:
            return None
        if row.revoked:
            raise KeyEnded("This key was revoked. Use another one, or have one made.")
        if row.expires_at is not None and row.expires_at <= time.time():
            raise KeyEnded("This key has expired. Use another one, or have one made.")
        self._used.add(row.id)
        return row

    def knows(self, key: str) -> bool:
        """Whether `get` can tell about this without `learn`."""
        if not is_formed(key):
            return True
        digest = digest_of(key)
        return digest in self._known or self._unknown.get(digest, -1.0) > self._clock()

    async def learn(self, key: str) -> None:
        """Have `get` know of this key, if it is one. Raises Unavailable."""
        if self.knows(key):
            return
        digest = digest_of(key)
        row = await self._look_up(digest)
        if row is None:
            _put(self._unknown, digest, self._clock() + UNKNOWN_S, UNKNOWN_MOST)
        else:
            self._learn_quotas(row)
            # It may have been read just before it was revoked: who looked at the changes first remembers that.
            _put(self._known, digest, row._replace(revoked=row.revoked or row.id in self._revoked), KNOWN_MOST)

    def quotas(self, tenant: str) -> Quotas:
        """Return what a tenant may take: as of the last look, or as it was found with a key of theirs.

        Before either, as for who comes with a watch token only, it is what the settings say; the next look is for it.
        """
        known = self._quotas.get(tenant)
        if known is None:
            known = self.defaults
            self._ask_for(tenant, known)
        return known

    def _learn_quotas(self, row: KeyRow) -> None:
        """Take the quotas that were found with a key, unless something newer is known."""
        if row.tenant not in self._quotas or row.tenant in self._asked_for:
            # Asked for nevertheless: they may have been read just before they were changed.
            self._ask_for(row.tenant, row.quotas.over(self.defaults))

    def _ask_for(self, tenant: str, meanwhile: Quotas) -> None:
        _put(self._quotas, tenant, meanwhile, TENANTS_MOST)
        self._asked_for.add(tenant)

    def is_revoked(self, key: UUID) -> bool:
        """Whether a key was revoked in the last hour."""
        return key in self._revoked

    def revoke(self, keys: Iterable[UUID]) -> None:
        """Take that keys were revoked."""
        until = self._clock() + REVOKED_S
        fresh = frozenset(key for key in keys if key not in self._revoked)
        if not fresh:
            return
        self._revoked |= dict.fromkeys(fresh, until)
        for digest, row in self._known.items():
            if row.id in fresh:
                self._known[digest] = row._replace(revoked=True)
        self.on_revoked(fresh)

    async def refresh(self) -> None:
        """Look at what changed since the last time. Raises Unavailable: what is known stays known."""
        asked_for = list(self._asked_for)
        changes = await self._source.keys_changed(self._since, asked_for)
        self._since = changes.at - OVERLAP
        self._asked_for.difference_update(asked_for)
        self.revoke(changes.revoked)
        for tenant, quotas in changes.tenants:
            # The same for half a minute after a change, and then it stays the same object.
            if self._quotas.get(tenant) not in {None, fresh := quotas.over(self.defaults)}:
                self._quotas[tenant] = fresh
        now = self._clock()
        while self._revoked and next(iter(self._revoked.values())) <= now:
            del self._revoked[next(iter(self._revoked))]

    async def run(self) -> None:
        """Keep up with revocations and quotas, and write now and then which keys were used, until cancelled."""
        write_at = self._clock() + self._used_every
        while True:
            try:
                await self.refresh()
                if self._clock() >= write_at:
                    write_at = self._clock() + self._used_every
                    await self.write_used()
            except Unavailable as error:
                log.debug("keys were not looked at; those known stay good", error=str(error))
            await asyncio.sleep(self._refresh_every)

    async def write_used(self) -> None:
        """Write which keys were used since the last time. Raises Unavailable: the next time writes them."""
        if self._used:
            used, self._used = self._used, set()
            try:
                await self._source.keys_used(used)
            except BaseException:
                self._used |= used
                raise


def _put(into: dict[K, V], key: K, value: V, most: int) -> None:
    """Remember something, and forget the oldest if it is too much."""
    into.pop(key, None)
    into[key] = value
    if len(into) > most:
        del into[next(iter(into))]
