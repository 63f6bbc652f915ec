"""Addresses as the declared kinds use them: IPv4 networks, pools, and MACs that follow from an identity.

Addresses are `int` inside (cheap to compare, to index and to search for a free one) and text outside.
IPv6 has fields of its own beside these (`addresses6.py`): text of an IPv6 address or network is recognised here, and
refused with words that say so. It must never know of a declared kind.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import NamedTuple

PHYSICAL_MTU = 1500
"""MTU of a physical network when nothing else is declared."""
GENEVE_OVERHEAD_BYTES = 58
"""Geneve over IPv4 with OVN's 8-byte option: outer Ethernet 14, IPv4 20, UDP 8, Geneve 8, option 8."""

_OCTETS = {str(number): number for number in range(256)}
_BESIDE = "and IPv6 beside it where there is a field for it, such as cidr6"
_MAC = re.compile(r"^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$")


class Range(NamedTuple):
    """Addresses from `first` to `last`, both of them included."""

    first: int
    last: int

    def __str__(self) -> str:
        one = format_address(self.first)
        return one if self.first == self.last else f"{one}-{format_address(self.last)}"


class Subnet(NamedTuple):
    """An IPv4 network: its first address and the length of its prefix."""

    base: int
    prefix_len: int

    @property
    def first(self) -> int:
        """First address that a host may have."""
        return self.base + (1 if self.prefix_len < 31 else 0)

    @property
    def last(self) -> int:
        """Last address that a host may have."""
        return self.broadcast - (1 if self.prefix_len < 31 else 0)

    @property
    def broadcast(self) -> int:
        """Highest address of the network."""
        return self.base | (0xFFFFFFFF >> self.prefix_len)

    def __contains__(self, address: object) -> bool:
        return isinstance(address, int) and self.base <= address <= self.broadcast

    def overlaps(self, other: Subnet) -> bool:
        """Whether some address lies in both."""
        return self.base <= other.broadcast and other.base <= self.broadcast

    def __str__(self) -> str:
        return f"{format_address(self.base)}/{self.prefix_len}"


def format_address(address: int) -> str:
    """Return an address as people write it."""
    return f"{address >> 24}.{address >> 16 & 255}.{address >> 8 & 255}.{address & 255}"


_RESERVED = (
    (Subnet(0, 8), '"this network"'),
    (Subnet(127 << 24, 8), "loopback"),
    (Subnet(224 << 24, 3), "multicast and experiments"),
)


@lru_cache(maxsize=65536)
def parse_address(text: str) -> int:
    """Return an IPv4 address as a number. Raises ValueError with a sentence for people."""
    try:
        one, two, three, four = text.split(".")
        return _OCTETS[one] << 24 | _OCTETS[two] << 16 | _OCTETS[three] << 8 | _OCTETS[four]
    except (ValueError, KeyError) as error:
        if _is_ipv6(text):
            raise ValueError(f"{text!r} is an IPv6 address; here goes an IPv4 one, {_BESIDE}") from error
        raise ValueError(f"{text!r} is not an IPv4 address") from error


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return True


@lru_cache(maxsize=16384)
def parse_subnet(text: str) -> Subnet:
    """Return an IPv4 network. Host bits must be zero. Raises ValueError with a sentence for people."""
    address_text, slash, length_text = text.partition("/")
    address = _parse_network_address(text, address_text)
    if not slash:
        raise ValueError(f"{text!r} has no prefix length, e.g. {address_text}/24")
    if not (length_text.isascii() and length_text.isdigit() and int(length_text) <= 32):
        raise ValueError(f"{text!r}: the prefix length must be a number from 0 to 32")
    length = int(length_text)
    base = address & ~(0xFFFFFFFF >> length) & 0xFFFFFFFF
    if base != address:
        meant = Subnet(base, length)
        raise ValueError(f"{text!r} has host bits set; the network of that address is {meant}")
    return Subnet(base, length)


def parse_usable_subnet(text: str) -> Subnet:
    """Return a network that hosts can live in: unicast, /8 to /30. Raises ValueError with a sentence for people."""
    subnet = parse_subnet(text)
    if not 8 <= subnet.prefix_len <= 30:
        size = "large" if subnet.prefix_len < 8 else "small"
        raise ValueError(f"{text!r} is too {size} for a network; use a prefix length from 8 to 30")
    for reserved, use in _RESERVED:
        if subnet.overlaps(reserved):
            raise ValueError(f"{text!r} overlaps {reserved}, which is reserved for {use}")
    return subnet


def _parse_network_address(whole: str, text: str) -> int:
    try:
        return int(IPv4Address(text))
    except AddressValueError as error:
        if _is_ipv6(text):
            raise ValueError(f"{whole!r} is an IPv6 network; here goes an IPv4 one, {_BESIDE}") from error
        raise ValueError(f"{whole!r} is not an IPv4 network, e.g. 192.168.1.0/24") from error


def parse_range(text: str) -> Range:
    """Return the addresses of "first-last" or of one address. Raises ValueError with a sentence for people."""
    first_text, dash, last_text = text.partition("-")
    first = parse_address(first_text.strip())
    last = parse_address(last_text.strip()) if dash else first
    if last < first:
        raise ValueError(f"{text!r} ends before it starts; write {last_text.strip()}-{first_text.strip()}")
    return Range(first, last)


def gateway_of(cidr: str, gateway: str | None) -> str:
    """Return a network's gateway: the given one, else the first address that a host may have."""
    return gateway or format_address(parse_subnet(cidr).first)


def geneve_mtu(underlay_mtu: int) -> int:
    """Return the greatest MTU of a virtual network that fits an underlay's MTU."""
    return underlay_mtu - GENEVE_OVERHEAD_BYTES


def parse_mac(text: str) -> str:
    """Return a unicast MAC in lower case with colons. Raises ValueError with a sentence for people."""
    if not _MAC.match(text):
        raise ValueError(f"{text!r} is not a MAC address, e.g. 0a:00:00:00:00:01")
    mac = text.lower()
    if int(mac[:2], 16) & 1:
        raise ValueError(f"{text!r} is a multicast MAC; a port needs a unicast one (even first byte)")
    if mac == "00:00:00:00:00:00":
        raise ValueError("the MAC must not be all zeros")
    return mac


def derived_mac(*parts: str | int) -> str:
    """Return a locally administered unicast MAC (0a:...) that follows from an identity, the same everywhere."""
    return "0a:" + hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=5).digest().hex(":")


def outside(ranges: Iterable[Range], address: int) -> bool:
    """Whether an address lies in none of the ranges."""
    return not any(first <= address <= last for first, last in ranges)
