"""Holds up the frames of one cable: a delay line between two interfaces of the fabric, for kernels without netem.

Frames keep their order in each direction. This module must never change a frame.
"""

from __future__ import annotations

import errno
import fcntl
import random
import select
import socket
import struct
import threading
import time
from collections import deque

from ovenbird.lab.probe import socket_of
from ovenbird.lab.process import Process

_ETH_P_ALL = 0x0003
_SOL_PACKET = 263
_SIOCGIFINDEX = 0x8933
_PACKET_ADD_MEMBERSHIP = 1
_PACKET_MR_PROMISC = 1
_PACKET_IGNORE_OUTGOING = 23
_LARGEST_FRAME = 65_536
_BUFFER_BYTES = 4_000_000
_SO_RCVBUFFORCE = 33
_AT_ONCE = 64
"""Frames read from one side before the other gets its turn."""


class Line:
    """One direction: frames come in, and are due after the delay."""

    def __init__(self, source: socket.socket, sink: socket.socket, delay_s: float, jitter_s: float) -> None:
        self.source = source
        self.sink = sink
        self._delay_s = delay_s
        self._jitter_s = jitter_s
        self._held: deque[tuple[float, bytes]] = deque()

    @property
    def due(self) -> float | None:
        """When the oldest frame must go on (monotonic seconds); None if none is held."""
        return self._held[0][0] if self._held else None

    def take_in(self) -> None:
        """Read what has arrived."""
        for _ in range(_AT_ONCE):
            try:
                frame = self.source.recv(_LARGEST_FRAME)
            except BlockingIOError:
                return
            at = time.monotonic() + self._delay_s + random.uniform(0, self._jitter_s)
            # Never before its predecessor: jitter varies the delay, it does not reorder.
            self._held.append((max(at, self._held[-1][0]) if self._held else at, frame))

    def let_out(self, now: float) -> None:
        """Send on what is due; a frame that the sink refuses is lost, as on a wire."""
        while self._held and self._held[0][0] <= now:
            try:
                self.sink.send(self._held.popleft()[1])
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.ENOBUFS, errno.EMSGSIZE):
                    raise


def relay(one: socket.socket, other: socket.socket, over: threading.Event, *, delay_s: float, jitter_s: float) -> None:
    """Copy packets between two sockets, each `delay_s` and up to `jitter_s` late, until `over`. Raises `OSError`."""
    for end in (one, other):
        end.setblocking(False)
    lines = [Line(one, other, delay_s, jitter_s), Line(other, one, delay_s, jitter_s)]
    while not over.is_set():
        now = time.monotonic()
        due = min((line.due for line in lines if line.due is not None), default=now + 0.1)
        ready, _, _ = select.select([one, other], [], [], min(0.1, max(0.0, due - now)))
        for line in lines:
            if line.source in ready:
                line.take_in()
            line.let_out(time.monotonic())


def frames_of(namespace: Process, interface: str) -> socket.socket:
    """Return a socket with every frame that arrives at an interface of a process's network (packet(7))."""
    endpoint = socket_of(namespace, socket.SOCK_RAW, socket.htons(_ETH_P_ALL), family=socket.AF_PACKET)
    try:
        endpoint.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        endpoint.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        endpoint.bind((interface, _ETH_P_ALL))
        # By ioctl(2): the socket knows the interfaces of its own namespace, if_nametoindex(3) those of this thread.
        request = fcntl.ioctl(endpoint, _SIOCGIFINDEX, struct.pack("16sI20x", interface.encode(), 0))
        index = struct.unpack_from("I", request, 16)[0]
        membership = struct.pack("iHH8s", index, _PACKET_MR_PROMISC, 0, b"")
        endpoint.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, membership)
    except OSError:
        endpoint.close()
        raise
    return endpoint
