"""What a webhook's URL may look like. Pure; where its name leads is looked at when something is sent."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from yarl import URL

from milepost.domain.addresses import Network, closed

LONGEST: Final = 2048
_PRINTABLE: Final = re.compile(r"[\x21-\x7e]+")
_LABEL: Final = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
# A last label that is a number, also in hex, would be read as an old way to write an address: it begins with a letter.
_NAME: Final = re.compile(rf"(?:{_LABEL}\.)*(?=[a-z]){_LABEL}")
_PORTS: Final = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class UrlRules:
    """What an installation allows. `ports` None: any. `opened` are networks that are not public and yet allowed."""

    http: bool = False
    ports: frozenset[int] | None = frozenset({443, 8443})
    opened: Sequence[Network] = ()


def read_url(text: str, rules: UrlRules) -> URL:
    """Return the URL to send to. Raises ValueError, whose words say how it should be.

    The parser is the one of the HTTP client: what is checked is what is sent to.
    """
    if len(text) > LONGEST:
        raise ValueError(f"should not be longer than {LONGEST} characters")
    if _PRINTABLE.fullmatch(text) is None or "\\" in text:
        raise ValueError("should be printable ASCII without spaces and backslashes; write other names in Punycode")
    try:
        url = URL(text)
        port = url.port
    except ValueError:
        raise ValueError("should be a URL, such as https://example.com/hooks/milepost") from None
    schemes = ("https", "http") if rules.http else ("https",)
    if url.scheme not in schemes or not url.host:
        more = "" if rules.http else " (http:// only where MILEPOST_WEBHOOK_HTTP allows it, for development)"
        raise ValueError(f"should begin with {' or '.join(f'{scheme}://' for scheme in schemes)}{more}")
    if "@" in re.split("[/?#]", text.partition("://")[2], maxsplit=1)[0]:
        raise ValueError("should hold no user or password; check the signature instead")
    if url.raw_fragment or "#" in text:
        raise ValueError("should have no fragment (#…): it would not be sent")
    if rules.ports is not None and port not in rules.ports and port != _PORTS[url.scheme]:
        allowed = ", ".join(str(each) for each in sorted(rules.ports | {_PORTS[url.scheme]}))
        raise ValueError(f"should use one of the ports {allowed} (MILEPOST_WEBHOOK_PORTS)")
    _check_host(url.raw_host or "", rules)
    return url


def _check_host(host: str, rules: UrlRules) -> None:
    try:
        ip_address(host)
    except ValueError:
        name = host.lower().removesuffix(".")
        if len(name) > 253 or _NAME.fullmatch(name) is None or ("." not in name and not rules.opened):
            raise ValueError("should name a host in full, such as example.com") from None
        return
    if why := closed(host, rules.opened):
        raise ValueError(f"should name a host: the address {host} {why}")
    if not any(ip_address(host) in network for network in rules.opened):
        raise ValueError("should name a host instead of an address: certificates are for names")
