"""Sends single packets from a node's network namespace, to see whether a cut drops them.

A thread enters the namespace, opens a socket there and ends: a socket stays in the namespace it was made in (setns(2)).
This module must never wait for an answer: it does not matter to it who listens.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import threading
from collections.abc import Sequence

from ovenbird.lab.partition import TUNNEL_PORT, Plane
from ovenbird.lab.process import Process
from ovenbird.model.cluster import Database

_CLONE_NEWNET = 0x40000000
_DISCARD_PORT = 9


def send(source: Process, addresses: Sequence[str], plane: Plane) -> None:
    """Send one packet of a plane to each address: a datagram, or the first segment of a connection."""
    for address in addresses:
        stream = plane == "control"
        port = {"control": Database.SB.client_port, "data": TUNNEL_PORT, "all": _DISCARD_PORT}[plane]
        with socket_of(source, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM) as endpoint:
            endpoint.setblocking(False)
            # Unreachable, refused and in progress are all fine: what counts is what the switch saw.
            with contextlib.suppress(OSError):
                endpoint.connect((address, port))
                endpoint.send(b"\0") if not stream else None


def socket_of(process: Process, kind: socket.SocketKind) -> socket.socket:
    """Return an IPv4 socket in the network namespace of a process; raises `OSError`."""
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
                made.append(socket.socket(socket.AF_INET, kind))
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
