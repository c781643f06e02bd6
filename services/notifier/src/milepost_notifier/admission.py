"""Who may connect, how many at once, and how fast one after the other. Counts: no sockets, no clock."""

from collections import Counter
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from milepost.runtime.settings import Settings
from milepost_notifier.budget import Budget

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

PER_ADDRESS: Final = 1_000
"""Connections of one address, unless the setting says otherwise."""
COMING_A_SECOND: Final = 20.0
"""Connections an address may open a second, unless the setting says otherwise; at once as many as it may have."""
BARRED_S: Final = 10.0
"""An address that sent too much may not come back for so long: a new connection has a burst of its own."""
_REMEMBERED_MAX: Final = 10_000
_V6_HOME: Final = 64
"""Who has one IPv6 address has all of these."""


class Addresses:
    """Tells clients apart by their addresses, also behind proxies that are trusted to say whom they speak for."""

    def __init__(self, proxies: Iterable[str]) -> None:
        self._proxies: list[Network] = [ip_network(proxy, strict=False) for proxy in proxies]

    def client(self, peer: str | None, forwarded: Iterable[str]) -> str:
        """Return the client's address, an IPv6 one as its network; empty where there is none (a Unix socket).

        `forwarded` are the values of X-Forwarded-For in order. Each proxy appends whom it heard from, so they are read
        from the end, for as long as it was a trusted one that wrote them: what comes before, anybody may have made up.
        """
        address = _address(peer or "")
        for said in reversed([part.strip() for line in forwarded for part in line.split(",")]):
            if address is None or not self._trusts(address):
                break
            before = _address(said)
            if before is None:
                break
            address = before
        if isinstance(address, IPv6Address):
            return str(ip_network((address, _V6_HOME), strict=False))
        return "" if address is None else str(address)

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._proxies if network.version == address.version)


class Admission:
    """What is counted over all clients of this process."""

    def __init__(self, settings: Settings) -> None:
        self.addresses = Addresses(settings.trusted_proxies)
        self.per_address = settings.max_connections_per_address
        self.a_second = settings.max_new_connections_per_second
        self.per_tenant = settings.max_connections_per_tenant
        self.most_waiting = settings.max_pending_hellos
        self.by_address: Counter[str] = Counter()
        self.by_tenant: Counter[str] = Counter()
        self.waiting: dict[Visit, Callable[[], object]] = {}
        self._barred: dict[str, float] = {}
        self._coming: dict[str, Budget] = {}
        """Of addresses that came not long ago, those that came last at the end."""

    def allowed(self, address: str) -> float:
        """Return how many connections an address may have."""
        if self.per_address is not None:
            return self.per_address
        return float("inf") if _local(address) else PER_ADDRESS

    def too_fast(self, address: str, now: float) -> bool:
        """Take that somebody comes from an address; return whether it opens connections faster than it may."""
        if self.a_second is None and _local(address):
            return False
        budget = self._coming.pop(address, None)
        if budget is None:
            rate = COMING_A_SECOND if self.a_second is None else self.a_second
            # All that it has may come back at once, as they do when a notifier was lost.
            budget = Budget(rate, max(rate, 1.0, PER_ADDRESS if self.per_address is None else self.per_address), now)
        self._coming[address] = budget
        if len(self._coming) > _REMEMBERED_MAX:
            del self._coming[next(iter(self._coming))]
        return not budget.take(now)

    def bar(self, address: str, now: float) -> None:
        """Let nobody in from an address for a while, unless everybody may come from there."""
        if not _local(address):
            if len(self._barred) >= _REMEMBERED_MAX:
                self._barred = {name: until for name, until in self._barred.items() if until > now}
            self._barred[address] = now + BARRED_S

    def barred(self, address: str, now: float) -> float:
        """Return for how many seconds more nobody may come from an address; 0: they may."""
        left = self._barred.get(address, now) - now
        if left <= 0:
            self._barred.pop(address, None)
        return max(left, 0.0)


class Visit:
    """One client from its first byte to its last, as it is counted."""

    __slots__ = ("_address", "_admission", "tenant")

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._address: str | None = None
        self.tenant: str | None = None
        """None until the client has said who it is."""

    def waits(self, give_up: Callable[[], object]) -> None:
        """Take that a client is there and has not said who it is. Too many of them: the oldest is given up.

        A client that means it has said so within a round trip or two, so it is others who have waited for long.
        """
        waiting = self._admission.waiting
        waiting[self] = give_up
        if len(waiting) > self._admission.most_waiting:
            oldest = next(iter(waiting))
            waiting.pop(oldest)()

    def come(self, peer: str | None, forwarded: Iterable[str], now: float) -> str | None:
        """Count a client by its address; return why it cannot come in, None if it can."""
        admission = self._admission
        address = admission.addresses.client(peer, forwarded)
        if admission.barred(address, now):
            return f"Somebody at your address sent too much; nobody from there is let in for {BARRED_S:g} seconds."
        if admission.too_fast(address, now):
            allowed = "MILEPOST_MAX_NEW_CONNECTIONS_PER_SECOND allows no more"
            return f"Your address opens connections too fast; {allowed}. Wait longer before you come back."
        most = admission.allowed(address)
        if admission.by_address[address] >= most:
            allowed = "MILEPOST_MAX_CONNECTIONS_PER_ADDRESS allows no more"
            return f"Your address has {most:,} connections; {allowed}. Close some first."
        admission.by_address[address] += 1
        self._address = address
        return None

    def sent_too_much(self, now: float) -> None:
        """Take that the client was cut off for what it sent."""
        if self._address is not None:
            self._admission.bar(self._address, now)

    def known(self, tenant: str) -> str | None:
        """Count a client that said who it is; return why it cannot stay, None if it can."""
        self._admission.waiting.pop(self, None)
        self.tenant = tenant
        self._admission.by_tenant[tenant] += 1
        if self._admission.by_tenant[tenant] > self._admission.per_tenant:
            return "this tenant has as many connections as it may have"
        return None

    def over(self) -> None:
        """Count a client no longer."""
        admission = self._admission
        admission.waiting.pop(self, None)
        if self._address is not None:
            _less(admission.by_address, self._address)
        if self.tenant is not None:
            _less(admission.by_tenant, self.tenant)
        self._address = self.tenant = None


def _local(address: str) -> bool:
    """Whether an address is this machine, where a proxy may stand that was not named: everybody has that address."""
    return not address or address == "::/64" or ip_address(address.partition("/")[0]).is_loopback


def _less(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]


def _address(text: str) -> Address | None:
    """Return the address in what a proxy or a socket says; None if there is none. Ports are left out."""
    bare = text
    if text.startswith("["):
        bare = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        bare = text.partition(":")[0]
    try:
        address = ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
