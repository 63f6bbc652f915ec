"""IPv6 as the declared kinds use it: prefixes of 64 bits beside an IPv4 network, and addresses that follow from MACs.

Nothing is allocated: an address is the prefix and the interface identifier that its MAC gives (modified EUI-64,
RFC 4291 appendix A), which is also what a host makes of itself when a router tells it the prefix (RFC 4862). MACs are
unique in the cluster, so these addresses are. Text outside, in its canonical form (RFC 5952); as a number an address is
2**32 or more, so that it is never taken for an IPv4 one. It must never know of a declared kind.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address, IPv6Network, NetmaskValueError

PREFIX_LEN = 64
"""Of every network: what stateless address configuration needs."""
_LINK_LOCAL = IPv6Network("fe80::/64")
_USABLE = (IPv6Network("2000::/3"), IPv6Network("fc00::/7"))
"""Global unicast, and unique local addresses (RFC 4193)."""
_UNROUTED = (IPv6Network("fe80::/10"), IPv6Network("ff00::/8"))


def parse_address6(text: str) -> str:
    """Return an address that a host may have, canonical. Raises ValueError with a sentence for people."""
    address = _address(text)
    if not any(address in each for each in _USABLE):
        raise ValueError(f"{text!r} is no address of a host in a network: use one of 2000::/3 or fc00::/7")
    return str(address)


def parse_next_hop6(text: str) -> str:
    """Return a next hop's address, which may be link-local. Raises ValueError with a sentence for people."""
    address = _address(text)
    return str(address) if address in _LINK_LOCAL else parse_address6(text)


def parse_prefix6(text: str) -> str:
    """Return a prefix that a network may have, canonical. Raises ValueError with a sentence for people."""
    try:
        network = IPv6Network(text, strict=False)
    except (AddressValueError, NetmaskValueError, ValueError) as error:
        raise ValueError(f"{text!r} is not an IPv6 network, e.g. fd00:1::/64") from error
    if "/" not in text or network.prefixlen != PREFIX_LEN:
        raise ValueError(f"{text!r}: the prefix length must be {PREFIX_LEN}, so that hosts make their own addresses")
    if not any(network.subnet_of(each) for each in _USABLE):
        raise ValueError(f"{text!r} is not for networks of hosts: use a part of 2000::/3 or fc00::/7")
    if IPv6Address(text.partition("/")[0]) != network.network_address:
        raise ValueError(f"{text!r} has host bits set; the network of that address is {network}")
    return str(network)


def parse_destination6(text: str) -> str:
    """Return a prefix that a route may lead to, of any length, canonical. Raises ValueError with a sentence."""
    try:
        network = IPv6Network(text, strict=False)
    except (AddressValueError, NetmaskValueError, ValueError) as error:
        raise ValueError(f"{text!r} is not an IPv6 network, e.g. 2001:db8:7::/48") from error
    if "/" not in text:
        raise ValueError(f"{text!r} has no prefix length, e.g. {text}/128")
    if IPv6Address(text.partition("/")[0]) != network.network_address:
        raise ValueError(f"{text!r} has host bits set; the network of that address is {network}")
    if network.prefixlen and any(network.overlaps(each) for each in _UNROUTED):
        raise ValueError(f"{text!r} is not routed: link-local and multicast addresses stay in their network")
    return str(network)


def _address(text: str) -> IPv6Address:
    try:
        address = IPv6Address(text)
    except AddressValueError as error:
        raise ValueError(f"{text!r} is not an IPv6 address") from error
    if address.scope_id is not None:
        raise ValueError(f"{text!r}: leave out the zone, {'%' + address.scope_id!r}")
    return address


def number6(text: str) -> int:
    """Return an address as a number."""
    return int(IPv6Address(text))


def is_link_local(text: str) -> bool:
    """Whether an address is only of a link."""
    return IPv6Address(text) in _LINK_LOCAL


def is_within(text: str, prefix: str) -> bool:
    """Whether an address lies in a prefix."""
    return number6(text) >> PREFIX_LEN == _bits(prefix) >> PREFIX_LEN


def is_for_hosts(text: str) -> bool:
    """Whether people may give an address of a network out: neither its anycast address nor one that follows from a MAC.

    RFC 4291 sections 2.6.1 (the lowest address is every router's) and appendix A (ff:fe in the middle).
    """
    identifier = number6(text) & 0xFFFFFFFFFFFFFFFF
    return identifier != 0 and (identifier >> 24) & 0xFFFF != 0xFFFE


def router_address6(prefix: str) -> str:
    """Return a network's gateway: its first address."""
    return str(IPv6Address(_bits(prefix) + 1))


def shifted6(text: str, by: int) -> str:
    """Return the address that comes so many after another."""
    return str(IPv6Address(number6(text) + by))


@lru_cache(maxsize=65536)
def derived_address6(prefix: str, mac: str) -> str:
    """Return the address that follows from a MAC in a prefix."""
    octets = bytes.fromhex(mac.replace(":", ""))
    identifier = bytes((octets[0] ^ 0x02,)) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return str(IPv6Address(_bits(prefix) + int.from_bytes(identifier)))


@lru_cache(maxsize=16384)
def _bits(prefix: str) -> int:
    return int(IPv6Address(prefix.partition("/")[0]))
