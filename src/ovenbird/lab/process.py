"""Identity of processes, so that none is ever signalled by mistake.

A pid alone may belong to somebody else by the time one acts on it. Here a process is a pid together with its start time
(proc(5), /proc/PID/stat field 22), and signals go through a pidfd opened before that pair was checked (pidfd_open(2)).
This module must never look for a process by its name or command line.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FLOCK = struct.Struct("hhqqi4x")
"""struct flock of x86-64 and arm64 Linux: type, whence, start, length, pid."""


def boot_id() -> str:
    """Return the id of the host's current boot: start times of another boot mean nothing."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _start_ticks(pid: int) -> int | None:
    """Return when a process started, in ticks since boot; None if there is none, or only its remains."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])


@dataclass(frozen=True, slots=True)
class Process:
    """One process of this host, as the host's own PID namespace sees it."""

    pid: int
    start_ticks: int

    @classmethod
    def find(cls, pid: int) -> Process | None:
        """Return the living process with this pid, or None."""
        ticks = _start_ticks(pid)
        return None if ticks is None else cls(pid, ticks)

    @property
    def is_alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        return _start_ticks(self.pid) == self.start_ticks

    @property
    def inner_pid(self) -> int:
        """The pid that the process has in its own PID namespace (proc(5), NSpid); 0 if the process is gone."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return 0
        line = next((line for line in status.splitlines() if line.startswith("NSpid:")), "")
        return int(line.split()[-1]) if line else 0

    @property
    def state(self) -> str:
        """One letter of proc(5): R, S, D, T (stopped), ...; empty if the process is gone."""
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        fields = stat[stat.rindex(")") + 2 :].split()
        return fields[0] if int(fields[19]) == self.start_ticks else ""

    @property
    def command(self) -> str:
        """Name of the program, at most 15 characters; empty if the process is gone."""
        try:
            return Path(f"/proc/{self.pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return ""

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal to this very process; return whether it was still there."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except OSError:
            return False
        try:
            if not self.is_alive:
                return False
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(descriptor)
        return True

    def wait_gone(self, *, timeout_s: float) -> bool:
        """Wait until the process has ended (for the init of a PID namespace: all of its processes too)."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except OSError:
            return True
        try:
            if not self.is_alive:
                return True
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            return bool(poll.poll(timeout_s * 1000))
        finally:
            os.close(descriptor)


def _pid_namespace(pid: int) -> int:
    return Path(f"/proc/{pid}/ns/pid").stat().st_ino


def members(init: Process) -> Iterator[Process]:
    """Yield the living processes of the PID namespace whose init is given, init included."""
    try:
        namespace = _pid_namespace(init.pid)
    except OSError:
        return
    for entry in os.listdir("/proc"):  # noqa: PTH208 - hundreds of entries on a hot path
        if not entry.isdigit():
            continue
        try:
            if _pid_namespace(int(entry)) != namespace:
                continue
        except OSError:
            continue
        process = Process.find(int(entry))
        if process is not None:
            yield process


def lock_owner(path: Path) -> Process | None:
    """Return the process that holds a write lock on a pid file, as Open vSwitch's daemons do (fcntl(2) F_GETLK).

    The kernel translates the owner's pid into our own namespace, and no stale file can deceive it. None: nobody does.
    """
    try:
        with path.open("rb") as file:
            answer = fcntl.fcntl(file, fcntl.F_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    except OSError:
        return None
    kind, _, _, _, pid = _FLOCK.unpack(answer)
    return None if kind == fcntl.F_UNLCK or pid <= 0 else Process.find(pid)


def by_inner_pid(init: Process, inner_pid: int) -> Process | None:
    """Return the process that has pid `inner_pid` inside the PID namespace of `init` (proc(5), NSpid)."""
    return next((process for process in members(init) if process.inner_pid == inner_pid), None)
