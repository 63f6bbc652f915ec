"""ARP probes of upstream next hops, sent from a provider bridge's own port: the way that a router's packets take.

A probe has the sender address 0.0.0.0 (RFC 5227 section 2.1.1), so nobody's ARP cache learns from it. It goes to the
next hop's hardware address while that answers, so that it disturbs nobody else, and to everybody once it does not.
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


@dataclass(frozen=True, slots=True)
class Target:
    """A next hop: its IPv4 address, and the VLAN of the network that it is in (0: untagged)."""

    address: str
    vlan: int = 0


def request(target: Target, source: bytes, destination: bytes = BROADCAST) -> bytes:
    """Return the frame of a probe (RFC 826; IEEE 802.1Q for the tag)."""
    tag = struct.pack("!HH", ETH_P_8021Q, target.vlan) if target.vlan else b""
    head = destination + source + tag + struct.pack("!H", ETH_P_ARP)
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, _REQUEST) + source + bytes(4) + bytes(6)
    return (head + body + socket.inet_aton(target.address)).ljust(_MIN_FRAME, b"\0")


@dataclass(frozen=True, slots=True)
class Reply:
    """An ARP reply."""

    destination: bytes
    """Hardware address that it was sent to."""
    who: Target
    mac: bytes
    """Hardware address of who answers."""
    ago_s: float = 0.0
    """How long ago the kernel got it: this process may have been busy with something else."""


def reply(frame: bytes, vlan: int = 0, ago_s: float = 0.0) -> Reply | None:
    """Return the ARP reply in an untagged frame; None for what is none."""
    if len(frame) < 42 or frame[12:22] != struct.pack("!HHHBBH", ETH_P_ARP, 1, 0x0800, 6, 4, _REPLY):
        return None
    return Reply(frame[:6], Target(socket.inet_ntoa(frame[28:32]), vlan), frame[22:28], ago_s)


class ArpSocket:
    """Sends probes on one interface and hears the answers. Raises `OSError` when the interface is not there or down."""

    def __init__(self, interface: str, *, before_switch: bool = False) -> None:
        """`before_switch`: hear what arrives at a port of Open vSwitch.

        It takes frames before a socket of one protocol sees them; one of all protocols (packet(7)) sees them earlier.
        """
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        try:
            self._only_replies()
            self._socket.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self._socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
            self._socket.bind((interface, ETH_P_ALL if before_switch else ETH_P_ARP))
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
        """Have the kernel drop what is no ARP reply (classic BPF): other people's ARP must not wake the agent."""
        program = b"".join(
            struct.pack("=HBBI", *instruction)
            for instruction in (
                (0x28, 0, 0, 12),
                (0x15, 0, 3, ETH_P_ARP),
                (0x28, 0, 0, 20),
                (0x15, 0, 1, _REPLY),
                (0x06, 0, 0, _LARGEST),
                (0x06, 0, 0, 0),
            )
        )
        buffer = ctypes.create_string_buffer(program)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", 6, ctypes.addressof(buffer)))


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
