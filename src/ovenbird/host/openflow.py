"""The little of OpenFlow that a host's agent needs: to follow the flows of one table, and to send packets.

OpenFlow 1.0 with Open vSwitch's flow monitor (ovs-ofctl(8), `monitor`; Open vSwitch's nicira-ext.h) over a bridge's
management socket. It must never change a flow.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Self

from ovenbird.model.errors import Unavailable

VERSION = 1
_HELLO, _ERROR, _ECHO_REQUEST, _ECHO_REPLY, _PACKET_OUT = 0, 1, 2, 3, 13
_STATS_REQUEST, _STATS_REPLY, _BARRIER_REQUEST, _BARRIER_REPLY = 16, 17, 18, 19
_HEADER = struct.Struct("!BBHI")
_VENDOR_STATS, _NICIRA, _FLOW_MONITOR = 0xFFFF, 0x2320, 2
_STATS = struct.Struct("!HHII4x")
"""Body of a vendor's statistics message: type, flags, vendor, subtype."""
_MONITOR = struct.Struct("!IHHHB5x")
"""nx_flow_monitor_request: id, flags, out_port, match_len, table_id."""
_INITIAL, _ADDED, _DELETED = 1, 2, 4
_UPDATE = struct.Struct("!HHHHHHHB9x")
"""nx_flow_update_full: length, event, reason, priority, idle and hard timeout, match_len, table_id, cookie."""
_EVENT_DELETED, _EVENT_ABBREVIATED = 1, 3
_NO_PORT, _NORMAL, _NO_BUFFER = 0xFFFF, 0xFFFA, 0xFFFFFFFF
_ETHERNET_DESTINATION = 0x00000206
"""NXM_OF_ETH_DST without a mask."""
HANDSHAKE_S = 2.0


class Change(Enum):
    """What became of a flow."""

    PRESENT = "present"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class FlowChange:
    """One flow that is there now, or no more."""

    change: Change
    identity: bytes
    """Priority and match: the same for the same flow."""
    destination: bytes | None
    """MAC address that its packets must be sent to; None if it asks for none, or for several."""


def flow_changes(body: bytes) -> Iterator[FlowChange]:
    """Yield the flows of a statistics reply's body; nothing for a reply that is not a flow monitor's."""
    if len(body) < _STATS.size:
        return
    kind, _flags, vendor, subtype = _STATS.unpack_from(body)
    if (kind, vendor, subtype) != (_VENDOR_STATS, _NICIRA, _FLOW_MONITOR):
        return
    at = _STATS.size
    while at + 4 <= len(body):
        length, event = struct.unpack_from("!HH", body, at)
        if length < 8 or at + length > len(body):
            return
        if event != _EVENT_ABBREVIATED and length >= _UPDATE.size:
            _, _, _, priority, _, _, match_length, _ = _UPDATE.unpack_from(body, at)
            match = body[at + _UPDATE.size : at + _UPDATE.size + match_length]
            change = Change.GONE if event == _EVENT_DELETED else Change.PRESENT
            yield FlowChange(change, struct.pack("!H", priority) + match, _destination(match))
        at += length


def _destination(match: bytes) -> bytes | None:
    at = 0
    while at + 4 <= len(match):
        (header,) = struct.unpack_from("!I", match, at)
        length = header & 0xFF
        if header == _ETHERNET_DESTINATION:
            return match[at + 4 : at + 4 + length]
        at += 4 + length
    return None


def packet_out(in_port: int, frame: bytes) -> bytes:
    """Return the body of a message that has a frame forwarded as if it had come in through a port, by the NORMAL rule.

    A bridge so learns where the frame's source is, as from a real packet.
    """
    action = struct.pack("!HHHH", 0, 8, _NORMAL, 0)
    return struct.pack("!IHH", _NO_BUFFER, in_port, len(action)) + action + frame


class Connection:
    """One connection to a bridge: `async with Connection(path) as bridge`. Every call may raise OSError or EOFError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._numbers = itertools.count(1)
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def __aenter__(self) -> Self:
        """Connect; raises OSError when nobody listens, Unavailable for one that does not speak OpenFlow 1.0."""
        async with asyncio.timeout(HANDSHAKE_S):
            self._reader, self._writer = await asyncio.open_unix_connection(str(self._path))
            self._send(_HELLO)
            kind, _, _ = await self._receive()
        if kind != _HELLO:
            self._writer.close()
            raise Unavailable(f"{self._path} does not speak OpenFlow 1.0", subject=str(self._path))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def follow(self, table: int) -> None:
        """Ask for the flows of a table: those that there are, then each that comes or goes. Read with `messages`."""
        monitor = _MONITOR.pack(1, _INITIAL | _ADDED | _DELETED, _NO_PORT, 0, table)
        self._send(_STATS_REQUEST, _STATS.pack(_VENDOR_STATS, 0, _NICIRA, _FLOW_MONITOR) + monitor)

    def ask_barrier(self) -> int:
        """Ask for an answer that comes after those to everything asked before; return its number."""
        return self._send(_BARRIER_REQUEST)

    async def send(self, frames: list[tuple[int, bytes]]) -> None:
        """Send frames, each as if it had come in through a port of that number."""
        for in_port, frame in frames:
            self._send(_PACKET_OUT, packet_out(in_port, frame))
        number = self.ask_barrier()
        async with asyncio.timeout(HANDSHAKE_S):
            while True:
                kind, answered, body = await self._next()
                if kind == _BARRIER_REPLY and answered == number:
                    return
                if kind == _ERROR:
                    raise Unavailable(f"{self._path} refuses a packet", evidence=body[:4].hex())

    async def next_changes(self) -> tuple[list[FlowChange], int | None]:
        """Return the flows of the next message, and the number of the barrier if it answers one."""
        kind, number, body = await self._next()
        if kind == _ERROR:
            raise Unavailable(f"{self._path} refuses to be followed", evidence=body[:4].hex())
        return (list(flow_changes(body)) if kind == _STATS_REPLY else []), (number if kind == _BARRIER_REPLY else None)

    async def _next(self) -> tuple[int, int, bytes]:
        """Return the next message that is not about the connection itself."""
        while True:
            kind, number, body = await self._receive()
            if kind != _ECHO_REQUEST:
                return kind, number, body
            self._write(_ECHO_REPLY, number, body)

    async def _receive(self) -> tuple[int, int, bytes]:
        _, kind, length, number = _HEADER.unpack(await self._reader.readexactly(_HEADER.size))
        return kind, number, await self._reader.readexactly(max(0, length - _HEADER.size))

    def _send(self, kind: int, body: bytes = b"") -> int:
        number = next(self._numbers)
        self._write(kind, number, body)
        return number

    def _write(self, kind: int, number: int, body: bytes) -> None:
        self._writer.write(_HEADER.pack(VERSION, kind, _HEADER.size + len(body), number) + body)
