"""Which addresses webhooks may be sent to."""

from ipaddress import ip_address, ip_network
from random import Random

import pytest

from milepost.domain.addresses import closed, networks

PUBLIC = [
    "1.1.1.1", "9.9.9.9", "11.0.0.1", "100.63.255.255", "100.128.0.0", "169.253.255.255", "172.15.255.255",
    "172.32.0.1",
    "192.0.1.1", "192.167.255.255", "198.17.255.255", "198.20.0.0", "203.0.112.255", "223.255.255.255",
    "2606:4700:4700::1111", "2001:4860:4860::8888", "2a00::1", "64:ff9b::101:101",
]  # fmt: skip
CLOSED = [
    "0.0.0.0",  # noqa: S104 - connected to, not bound
    "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255", "100.100.100.200",
    "127.0.0.1", "127.1.2.3",
    "168.63.129.16", "169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1",
    "192.31.196.1", "192.52.193.1", "192.88.99.1", "192.168.1.1", "192.175.48.1", "198.18.0.1", "198.19.255.255",
    "198.51.100.1", "203.0.113.1", "224.0.0.1",
    "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::ffff:127.0.0.1", "::ffff:1.1.1.1", "::ffff:0:10.0.0.1", "::10.0.0.1", "::7f00:1",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::10.0.0.1", "64:ff9b:1::1.1.1.1", "100::1", "100:0:0:1::1",
    "2001::1", "2001:0:7f00:1::", "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1", "2002:7f00:1::",
    "2002:a00:1::1",
    "2620:4f:8000::1", "3fff::1", "4000::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0",
    "2606:4700:4700::1111%eth0",
    "fec0::1", "ff02::1", "ff0e::1", "2a00::5efe:a00:1", "2a00::200:5efe:10.0.0.1",
]  # fmt: skip
NONE = ["", "localhost", "127.1", "2130706433", "0x7f.1", "017700000001", "1.1.1.1 ", "1.1.1.1/32", "[::1]", "1.1.1"]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_open(address: str) -> None:
    assert closed(address) is None


@pytest.mark.parametrize("address", [*CLOSED, *NONE])
def test_all_others_are_closed_however_they_are_written(address: str) -> None:
    assert closed(address)


def test_nothing_that_python_calls_private_is_open() -> None:
    dice = Random(7)
    for _ in range(20_000):
        address = ip_address(dice.getrandbits(32))
        if not address.is_global or address.is_multicast:
            assert closed(str(address)), address
    for _ in range(20_000):
        wide = ip_address((0x2 << 124) | dice.getrandbits(125))
        if not wide.is_global or wide.is_multicast:
            assert closed(str(wide)), wide


def test_a_private_network_can_be_opened_and_only_that() -> None:
    opened = networks(["10.1.0.0/16", "::1"])
    assert closed("10.1.2.3", opened) is None
    assert closed("::1", opened) is None
    for address in ("10.2.0.1", "::ffff:10.1.2.3", "64:ff9b::a01:203", "::2", "127.0.0.1"):
        assert closed(address, opened), address


def test_networks_that_are_none_are_refused() -> None:
    assert networks(["10.0.0.1/8"]) == (ip_network("10.0.0.0/8"),)
    with pytest.raises(ValueError, match="nonsense"):
        networks(["nonsense"])
