"""Gives the sockets of a lab's switches queues that take a burst, as an operator of the userspace datapath would.

Where the kernel switches packets there are no such queues. A lab's switches read packets through sockets, whose default
queue (net.core.rmem_default, 208 KiB) overflows while a switch waits for a processor; that default cannot be set for
one network namespace, and this machine's own is not a drill's to change. So the sockets themselves are changed, through
copies of their descriptors (pidfd_getfd(2)). What is lost all the same is counted by `ovenbird.drill.queue_drops`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from ovenbird.lab.lab import Lab
from ovenbird.lab.process import Process
from ovenbird.model.errors import OvenbirdError

QUEUE_BYTES = 512 << 10
"""As the kernel counts (twice what setsockopt is given): some 220 full packets, two and a half times the default. Far
deeper ones are worse than losses: what a busy switch has not yet read is late, BFD included (4.6 s with 8 MiB)."""
AGAIN_S = 1.0
_SO_RCVBUFFORCE = 33
"""socket(7): beyond net.core.rmem_max, for root."""
_PIDFD_GETFD = 438
"""Number of the system call, the same on all architectures; Python has no function for it."""


@contextlib.asynccontextmanager
async def kept_deep(lab: Lab) -> AsyncIterator[None]:
    """Keep the queues deep: at once, and within a second or so those of a switch that starts anew."""
    await asyncio.to_thread(deepen, lab)
    keeping = asyncio.create_task(_keep(lab), name="drill switch queues")
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


async def _keep(lab: Lab) -> None:
    while True:
        await asyncio.sleep(AGAIN_S)
        await asyncio.to_thread(deepen, lab)


def deepen(lab: Lab) -> dict[str, int]:
    """Give every socket that a switch reads packets from a queue of `QUEUE_BYTES`; return how many, by node.

    What this kernel does not allow stays as it is.
    """
    found = {}
    for name, node in lab.nodes.items():
        with contextlib.suppress(OSError, OvenbirdError):  # it may just lose its power
            switch = node.pids().get("ovs-vswitchd")
            if switch is not None:
                found[name] = _deepened(switch)
    return found


def _deepened(switch: Process) -> int:
    """Deepen the queues of one switch; return how many. Raises `OSError` where that is not allowed, or it is gone."""
    pidfd = os.pidfd_open(switch.pid)
    try:
        if not switch.is_alive:
            return 0
        count = 0
        for descriptor in _packet_descriptors(switch.pid):
            with _copy(pidfd, descriptor) as copied:
                copied.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, QUEUE_BYTES // 2)
                count += 1
        return count
    finally:
        os.close(pidfd)


def _packet_descriptors(pid: int) -> Iterator[int]:
    """Yield the descriptors of a process that are packet sockets (packet(7))."""
    lines = Path(f"/proc/{pid}/net/packet").read_text(encoding="ascii").splitlines()[1:]
    inodes = {f"socket:[{line.split()[-1]}]" for line in lines}
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if str(link.readlink()) in inodes:
                yield int(link.name)


def _copy(pidfd: int, descriptor: int) -> socket.socket:
    copied = ctypes.CDLL(None, use_errno=True).syscall(_PIDFD_GETFD, pidfd, descriptor, 0)
    if copied < 0:
        raise OSError(ctypes.get_errno(), "pidfd_getfd")
    return socket.socket(fileno=copied)
