"""Which addresses of the Internet a webhook may be sent to. Pure: names are resolved elsewhere."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Network = IPv4Network | IPv6Network

_CLOSED_4: Final = tuple(
    (IPv4Network(network), what)
    for network, what in (
        # IANA's registry of special-purpose addresses (RFC 6890 and its followers), all of it: also what is only
        # there to be documented or measured leads nowhere that a webhook should go.
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by a provider's customers"),
        ("127.0.0.0/8", "this machine"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved for protocols"),
        ("192.0.2.0/24", "for documentation"),
        ("192.31.196.0/24", "reserved for protocols"),
        ("192.52.193.0/24", "reserved for protocols"),
        ("192.88.99.0/24", "a relay of IPv6"),
        ("192.168.0.0/16", "private"),
        ("192.175.48.0/24", "reserved for protocols"),
        ("198.18.0.0/15", "for measurements"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        # Public by its number, and the host of every virtual machine on Azure: its metadata are behind it.
        ("168.63.129.16/32", "a cloud's own service"),
    )
)
_UNICAST_6: Final = IPv6Network("2000::/3")
"""All that is routed in public. What lies outside needs no list: private, link-local, multicast, mapped, reserved."""
_CLOSED_6: Final = tuple(
    (IPv6Network(network), what)
    for network, what in (
        ("2001::/23", "reserved for protocols, Teredo among them"),
        ("2001:db8::/32", "for documentation"),
        ("2002::/16", "a tunnel to IPv4"),
        ("2620:4f:8000::/48", "reserved for protocols"),
        ("3fff::/20", "for documentation"),
    )
)
_NAT64: Final = IPv6Network("64:ff9b::/96")
"""In networks without IPv4 a resolver (DNS64) puts every address of IPv4 into this prefix (RFC 6052)."""
_ISATAP: Final = (0x0000_5EFE, 0x0200_5EFE)
"""Upper half of an interface identifier whose lower half is an address of IPv4 (RFC 5214)."""


def closed(address: str, opened: Sequence[Network] = ()) -> str | None:
    """Say why nothing is sent to an address; None if it is public, or in one of the `opened` networks.

    Addresses of IPv4 inside ones of IPv6 count as themselves where they are translated (NAT64), and are refused where
    they are tunnelled or mapped. An address with a zone, or one that is none, is refused.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return "is not an address"
    if any(parsed.version == network.version and parsed in network for network in opened):
        return None
    if isinstance(parsed, IPv4Address):
        return _closed_4(parsed)
    return _closed_6(parsed)


def _closed_4(address: IPv4Address) -> str | None:
    for network, what in _CLOSED_4:
        if address in network:
            return f"is not public ({what})"
    return None


def _closed_6(address: IPv6Address) -> str | None:
    if address.scope_id is not None:
        return "is not public (link-local)"
    if address in _NAT64:
        return _closed_4(IPv4Address(int(address) & 0xFFFF_FFFF))
    if address not in _UNICAST_6:
        return "is not public (of IPv6 only 2000::/3 is)"
    for network, what in _CLOSED_6:
        if address in network:
            return f"is not public ({what})"
    if (int(address) >> 32) & 0xFFFF_FFFF in _ISATAP:
        return "is not public (a tunnel to IPv4)"
    return None


def networks(words: Sequence[str]) -> tuple[Network, ...]:
    """Read networks or single addresses. Raises ValueError."""
    return tuple(ip_network(word, strict=False) for word in words)
