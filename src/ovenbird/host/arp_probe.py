"""Probes of upstream next hops, by ARP or, for IPv6, by neighbor solicitations.

They are sent from a provider bridge's own port: the way that a router's packets take.

An ARP probe has the sender address 0.0.0.0 (RFC 5227 section 2.1.1), so nobody's ARP cache learns from it. A neighbor
solicitation without an address of its own would be answered to all nodes (RFC 4861 section 7.2.4), so it has the
bridge's link-local one. Both go to the next hop's hardware address while that answers, so that they disturb nobody
else, and to everybody once it does not.
Whether another gateway answers for a router is asked of that router's own MAC address, in its own name: OVN answers no
sender without an address in the network, and may note whom it has answered. The frame's source is this host's own.
Must never send an address of ours, nor more than one probe per call and target.

The same kind of socket, listening to an uplink *before* Open vSwitch takes its frames, hears answers to questions that
were asked in a router's name (`host/outside.py`).
"""

from __future__ import annotations

import ctypes
import socket
import struct
import time
from dataclasses import dataclass

from ovenbird.host.icmpv6 import ETH_P_IPV6, ICMPV6, NEIGHBOR_ADVERTISEMENT, advertised, solicitation

ETH_P_ALL = 0x0003
ETH_P_ARP = 0x0806
ETH_P_8021Q = 0x8100
BROADCAST = b"\xff" * 6
_REQUEST, _REPLY = 1, 2
_SOL_PACKET = 263
_PACKET_AUXDATA = 8
_PACKET_IGNORE_OUTGOING = 23
_SO_ATTACH_FILTER = 26
_SO_TIMESTAMPNS = 35
_TIMESTAMP = struct.Struct("@qq")
_TP_STATUS_VLAN_VALID = 0x10
_AUXDATA = struct.Struct("=IIIHHHH")
_LARGEST = 2048
_ANCILLARY = socket.CMSG_SPACE(_AUXDATA.size) + socket.CMSG_SPACE(_TIMESTAMP.size)
_MIN_FRAME = 60
_HALF, _BYTE, _IF, _RETURN = 0x28, 0x30, 0x15, 0x06
_ARP_REPLIES = (
    (_HALF, 0, 0, 12),
    (_IF, 0, 3, ETH_P_ARP),
    (_HALF, 0, 0, 20),
    (_IF, 0, 1, _REPLY),
    (_RETURN, 0, 0, _LARGEST),
    (_RETURN, 0, 0, 0),
)
_ANSWERS = (
    (_HALF, 0, 0, 12),
    (_IF, 0, 2, ETH_P_ARP),
    (_HALF, 0, 0, 20),
    (_IF, 5, 6, _REPLY),
    (_IF, 0, 5, ETH_P_IPV6),
    (_BYTE, 0, 0, 20),
    (_IF, 0, 3, ICMPV6),
    (_BYTE, 0, 0, 54),
    (_IF, 0, 1, NEIGHBOR_ADVERTISEMENT),
    (_RETURN, 0, 0, _LARGEST),
    (_RETURN, 0, 0, 0),
)
"""Classic BPF: operation, instructions to skip if true, if false, operand. Both end with "take it" and "drop it"."""


@dataclass(frozen=True, slots=True)
class Target:
    """A next hop: its IPv4 or IPv6 address, and the VLAN of the network that it is in (0: untagged)."""

    address: str
    vlan: int = 0

    @property
    def is_ipv6(self) -> bool:
        """Whether it is asked by neighbor discovery."""
        return ":" in self.address


def request(target: Target, source: bytes, destination: bytes = BROADCAST) -> bytes:
    """Return the frame of a probe (RFC 826, RFC 4861; IEEE 802.1Q for the tag)."""
    tag = struct.pack("!HH", ETH_P_8021Q, target.vlan) if target.vlan else b""
    if target.is_ipv6:
        return solicitation(source, target.address, destination if destination != BROADCAST else None, tag)
    head = destination + source + tag + struct.pack("!H", ETH_P_ARP)
    return _asking(head, source, bytes(4), target)


def self_request(target: Target, source: bytes, mac: bytes) -> bytes:
    """Return the frame that asks whoever has an address and MAC address for just these (RFC 826)."""
    tag = struct.pack("!HH", ETH_P_8021Q, target.vlan) if target.vlan else b""
    head = mac + source + tag + struct.pack("!H", ETH_P_ARP)
    return _asking(head, mac, socket.inet_aton(target.address), target)


def _asking(head: bytes, sender_mac: bytes, sender: bytes, target: Target) -> bytes:
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, _REQUEST) + sender_mac + sender + bytes(6)
    return (head + body + socket.inet_aton(target.address)).ljust(_MIN_FRAME, b"\0")


@dataclass(frozen=True, slots=True)
class Reply:
    """An ARP reply, or a neighbor advertisement."""

    destination: bytes
    """Hardware address that it was sent to."""
    who: Target
    mac: bytes
    """Hardware address of who answers."""
    ago_s: float = 0.0
    """How long ago the kernel got it: this process may have been busy with something else."""


def reply(frame: bytes, vlan: int = 0, ago_s: float = 0.0) -> Reply | None:
    """Return the ARP reply or neighbor advertisement in an untagged frame; None for what is none."""
    if (told := advertised(frame)) is not None:
        return Reply(frame[:6], Target(told[0], vlan), told[1], ago_s)
    if len(frame) < 42 or frame[12:22] != struct.pack("!HHHBBH", ETH_P_ARP, 1, 0x0800, 6, 4, _REPLY):
        return None
    return Reply(frame[:6], Target(socket.inet_ntoa(frame[28:32]), vlan), frame[22:28], ago_s)


class ArpSocket:
    """Sends probes on one interface and hears the answers. Raises `OSError` when the interface is not there or down."""

    def __init__(self, interface: str, *, ipv6: bool = False) -> None:
        """`ipv6`: hear neighbor advertisements as well.

        It is a socket of all protocols (packet(7)). One of a single protocol sees frames only after Open vSwitch has
        taken those of its ports, and after the kernel has cleared the tag of a VLAN that it has no interface for.
        """
        self.ipv6 = ipv6
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        try:
            self._only_replies()
            self._socket.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self._socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
            self._socket.bind((interface, ETH_P_ALL))
            self.own: bytes = self._socket.getsockname()[4]
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Return the descriptor, to wait for answers on."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def send(self, target: Target, destination: bytes = BROADCAST) -> None:
        """Send one probe."""
        self._socket.send(request(target, self.own, destination))

    def send_self(self, target: Target, mac: bytes) -> None:
        """Ask whoever has that address and MAC address."""
        self._socket.send(self_request(target, self.own, mac))

    def answers(self) -> list[tuple[Target, bytes]]:
        """Return who has answered us since the last call, and with which hardware address."""
        return [(one.who, one.mac) for one in self.replies() if one.destination == self.own]

    def replies(self) -> list[Reply]:
        """Return the replies that have come since the last call, whoever they are for."""
        found: list[Reply] = []
        while True:
            try:
                frame, ancillary, _, _ = self._socket.recvmsg(_LARGEST, _ANCILLARY)
            except BlockingIOError:
                return found
            if (one := reply(frame, _vlan(ancillary), _ago_s(ancillary))) is not None:
                found.append(one)

    def _only_replies(self) -> None:
        """Have the kernel drop what is no answer (classic BPF): other people's questions must not wake the agent."""
        instructions = _ANSWERS if self.ipv6 else _ARP_REPLIES
        buffer = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in instructions))
        program = struct.pack("HP", len(instructions), ctypes.addressof(buffer))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def _vlan(ancillary: list[tuple[int, int, bytes]]) -> int:
    """Return the VLAN that the kernel took off the frame (packet(7), PACKET_AUXDATA)."""
    for level, kind, data in ancillary:
        if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA) and len(data) >= _AUXDATA.size:
            status, _, _, _, _, tci, _ = _AUXDATA.unpack(data[: _AUXDATA.size])
            return int(tci & 0xFFF) if status & _TP_STATUS_VLAN_VALID else 0
    return 0


def _ago_s(ancillary: list[tuple[int, int, bytes]]) -> float:
    """Return how long ago the kernel got the frame (socket(7), SO_TIMESTAMPNS); 0 if it does not say."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS) and len(data) >= _TIMESTAMP.size:
            seconds, nanoseconds = _TIMESTAMP.unpack(data[: _TIMESTAMP.size])
            return max(0.0, time.time() - float(seconds) - float(nanoseconds) / 1e9)
    return 0.0
