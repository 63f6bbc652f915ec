"""Neighbor discovery's frames (RFC 4861 sections 4.3 and 4.4): bytes in, bytes out; nothing is sent here.

Announcements use it (`host/announcement.py`), and probes of next hops (`host/arp_probe.py`).
"""

from __future__ import annotations

import struct
from ipaddress import IPv6Address

from ovenbird.model.addresses6 import derived_address6

ETH_P_IPV6 = 0x86DD
ICMPV6 = 58
NEIGHBOR_SOLICITATION, NEIGHBOR_ADVERTISEMENT = 135, 136
_HOP_LIMIT = 255
"""Whoever gets less knows that a router has passed it on, and drops it."""
_SOURCE_LINK_ADDRESS, _TARGET_LINK_ADDRESS = 1, 2
_ROUTER_AND_OVERRIDE = 0xA0000000
_ALL_NODES = IPv6Address("ff02::1").packed
_SOLICITED_NODE = IPv6Address("ff02::1:ff00:0").packed[:13]
_HEAD = 14 + 40
"""Ethernet without a tag, and IPv6."""
_ADVERTISEMENT = _HEAD + 24


def unsolicited_advertisement(mac: bytes, own: bytes, tag: bytes = b"") -> bytes:
    """Return the frame that tells all nodes of a link where an address is; `tag`: of its VLAN."""
    body = struct.pack("!I", _ROUTER_AND_OVERRIDE) + own + _link_address(_TARGET_LINK_ADDRESS, mac)
    return _frame(_multicast(_ALL_NODES), mac, tag, own, _ALL_NODES, NEIGHBOR_ADVERTISEMENT, body)


def solicitation(mac: bytes, target: str, target_mac: bytes | None, tag: bytes = b"") -> bytes:
    """Return the question for an address, to who has it by hardware address, else to all that may.

    It comes from the link-local address that follows from `mac`: whoever answers may note that one, and no other.
    """
    wanted, source = IPv6Address(target).packed, IPv6Address(derived_address6("fe80::/64", mac.hex(":"))).packed
    to = wanted if target_mac is not None else _SOLICITED_NODE + wanted[13:]
    body = bytes(4) + wanted + _link_address(_SOURCE_LINK_ADDRESS, mac)
    return _frame(target_mac or _multicast(to), mac, tag, source, to, NEIGHBOR_SOLICITATION, body)


def advertised(frame: bytes) -> tuple[str, bytes] | None:
    """Return the address and hardware address that an untagged neighbor advertisement tells; None for what is none."""
    if len(frame) < _ADVERTISEMENT or frame[12:14] != ETH_P_IPV6.to_bytes(2):
        return None
    if (frame[20], frame[21], frame[_HEAD], frame[_HEAD + 1]) != (ICMPV6, _HOP_LIMIT, NEIGHBOR_ADVERTISEMENT, 0):
        return None
    option = frame[_ADVERTISEMENT : _ADVERTISEMENT + 8]
    told = len(option) == 8 and option[0] == _TARGET_LINK_ADDRESS
    return str(IPv6Address(frame[_HEAD + 8 : _ADVERTISEMENT])), option[2:] if told else frame[6:12]


def _link_address(kind: int, mac: bytes) -> bytes:
    return struct.pack("!BB", kind, 1) + mac


def _multicast(group: bytes) -> bytes:
    return b"\x33\x33" + group[12:]


def _frame(to_mac: bytes, mac: bytes, tag: bytes, source: bytes, to: bytes, kind: int, body: bytes) -> bytes:
    length = 4 + len(body)
    pseudo = source + to + struct.pack("!II", length, ICMPV6)
    head = struct.pack("!BB", kind, 0)
    packet = head + struct.pack("!H", _checksum(pseudo + head + b"\0\0" + body)) + body
    header = struct.pack("!IHBB", 6 << 28, length, ICMPV6, _HOP_LIMIT)
    return to_mac + mac + tag + struct.pack("!H", ETH_P_IPV6) + header + source + to + packet


def _checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
