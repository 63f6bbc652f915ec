"""One agent per host: a locked pid file, as OVS daemons have; the kernel frees it however its holder dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ovenbird.model.errors import Refused


@contextmanager
def only_agent(path: Path) -> Iterator[None]:
    """Hold the lock. Raises `Refused` naming the pid of the agent that holds it already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(fd, 20).decode(errors="replace").strip()
            raise Refused(
                f"an agent already runs on this host (pid {holder or 'unknown'})",
                code="agent_runs",
                subject=str(path),
                hint="end it first: the daemons will go on",
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)
