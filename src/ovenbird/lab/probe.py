"""Sends single packets from a node's network namespace, to see whether a cut drops them.

A thread enters the namespace, opens a socket there and ends: a socket stays in the namespace it was made in (setns(2)).
This module must never wait for an answer: it does not matter to it who listens.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import threading
from collections.abc import Sequence

from ovenbird.lab.partition import TUNNEL_PORT, Plane
from ovenbird.lab.process import Process
from ovenbird.model.cluster import Database

_CLONE_NEWNET = 0x40000000
_DISCARD_PORT = 9
_SEGMENT = struct.Struct("!HHIIBBHHH")
"""TCP's header (RFC 9293): ports, sequence, acknowledgement, data offset, flags, window, checksum, urgent."""


def send(source: Process, addresses: Sequence[str], plane: Plane, *, count: int = 1, size: int = 1) -> None:
    """Send packets of a plane to each address: datagrams, or segments that belong to no connection.

    The segments have a wrong checksum: whoever gets one drops it without an answer.
    """
    if plane == "control":
        with socket_of(source, socket.SOCK_RAW, socket.IPPROTO_TCP) as endpoint:
            segment = _SEGMENT.pack(_DISCARD_PORT, Database.SB.client_port, 0, 0, 5 << 4, 0, 0, 0, 0) + b"\0" * size
            _send(endpoint, segment, addresses, 0, count)
    else:
        port = TUNNEL_PORT if plane == "data" else _DISCARD_PORT
        with socket_of(source, socket.SOCK_DGRAM) as endpoint:
            _send(endpoint, b"\0" * size, addresses, port, count)


def _send(endpoint: socket.socket, packet: bytes, addresses: Sequence[str], port: int, count: int) -> None:
    endpoint.setblocking(False)
    for address in addresses:
        for _ in range(count):
            # Unreachable and refused are fine: what counts is what the switch saw.
            with contextlib.suppress(OSError):
                endpoint.sendto(packet, (address, port))


def socket_of(
    process: Process, kind: socket.SocketKind, protocol: int = 0, *, family: socket.AddressFamily = socket.AF_INET
) -> socket.socket:
    """Return a socket, of IPv4 by default, in the network namespace of a process; raises `OSError`."""
    made: list[socket.socket] = []
    errors: list[OSError] = []

    def make() -> None:
        try:
            descriptor = os.open(f"/proc/{process.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.setns(descriptor, _CLONE_NEWNET) != 0:
                    number = ctypes.get_errno()
                    raise OSError(number, os.strerror(number))
                made.append(socket.socket(family, kind, protocol))
            finally:
                os.close(descriptor)
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=make, name="setns")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return made[0]
