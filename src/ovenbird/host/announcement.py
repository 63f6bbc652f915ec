"""Frames that tell a physical network where an address is now. Bytes in, bytes out; nothing is sent here.

IPv4: an ARP announcement (RFC 5227 section 3), a request in the form that OVN itself uses. IPv6: an unsolicited
neighbor advertisement (RFC 4861 section 7.2.6). A MAC address alone: a RARP request (RFC 903), as hypervisors send
after a migration; it teaches switches and is answered by nobody.
"""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv6Address

from ovenbird.host.icmpv6 import unsolicited_advertisement
from ovenbird.plan.announcing import Announcement

_BROADCAST = b"\xff" * 6
_ARP, _RARP, _DOT1Q = 0x0806, 0x8035, 0x8100
_ARP_REQUEST, _RARP_REQUEST = 1, 3
_MIN_FRAME = 60


def frame(announcement: Announcement) -> bytes:
    """Return the frame, with an IEEE 802.1Q tag if the network has a VLAN, at least 60 bytes long."""
    mac = bytes.fromhex(announcement.mac.replace(":", ""))
    tag = _tag(announcement)
    if not announcement.address:
        body = _arp(_RARP_REQUEST, mac, bytes(4), mac, bytes(4))
        return (_BROADCAST + mac + tag + struct.pack("!H", _RARP) + body).ljust(_MIN_FRAME, b"\0")
    if ":" in announcement.address:
        return unsolicited_advertisement(mac, IPv6Address(announcement.address).packed, tag)
    own = socket.inet_aton(announcement.address)
    body = _arp(_ARP_REQUEST, mac, own, bytes(6), own)
    return (_BROADCAST + mac + tag + struct.pack("!H", _ARP) + body).ljust(_MIN_FRAME, b"\0")


def question(announcement: Announcement, next_hop: str, next_hop_mac: str) -> bytes:
    """Return an ARP request to a next hop in the name of an IPv4 address, tagged and padded as an announcement is.

    It goes to the next hop's own hardware address and disturbs nobody else; the answer goes to the announcement's.
    """
    mac, to = (bytes.fromhex(each.replace(":", "")) for each in (announcement.mac, next_hop_mac))
    body = _arp(_ARP_REQUEST, mac, socket.inet_aton(announcement.address), bytes(6), socket.inet_aton(next_hop))
    return (to + mac + _tag(announcement) + struct.pack("!H", _ARP) + body).ljust(_MIN_FRAME, b"\0")


def _tag(announcement: Announcement) -> bytes:
    return struct.pack("!HH", _DOT1Q, announcement.vlan) if announcement.vlan else b""


def _arp(operation: int, mac: bytes, own: bytes, target_mac: bytes, target: bytes) -> bytes:
    return struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + mac + own + target_mac + target
