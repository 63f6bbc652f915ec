"""Is a daemon not only alive but working? One that hangs keeps its pid, its sockets and, for ovn-controller, its flows.

Hung is one that is stopped, or that answers nothing on its control socket and uses no processor time meanwhile. One
that does not answer but computes is busy, not hung: a great recomputation takes seconds, and starting it again would
only begin it anew. Must never end anything but the process that it looked at.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

from ovenbird.ovsdb import OvsdbError
from ovenbird.plan.fitness import Finding, State
from ovenbird.process import daemon
from ovenbird.process.daemon import DaemonSpec, Running

TRIES = 3
"""Looks without an answer and without progress, in a row, until it counts as hung."""
TRIES_STOPPED = 2
"""The same for one that the kernel says is stopped."""
ANSWER_S = 0.5
BUSY_LOOKS = 30
"""A daemon that computes without an answer for so many looks does not get anywhere."""


@dataclass(slots=True)
class _Look:
    running: Running
    ticks: int
    """Processor time used, in clock ticks."""
    silent: int = 0
    idle: int = 0


class Working:
    """Looks at one daemon, again and again."""

    def __init__(self, spec: DaemonSpec) -> None:
        self.spec = spec
        self._last: _Look | None = None

    async def look(self) -> Finding:
        """Return what it is now; takes at most half a second."""
        running = daemon.find(self.spec)
        if running is None:
            self._last = None
            return Finding(State.BAD, "it does not run")
        state, ticks = _process(running)
        last = self._last if self._last is not None and self._last.running == running else _Look(running, ticks)
        self._last = last
        if state in "Tt":
            last.silent += 1
            last.idle += 1
            return self._silent(last, "stopped", TRIES_STOPPED)
        try:
            await daemon.ask(self.spec, "version", timeout_s=ANSWER_S)
        except (OvsdbError, OSError):
            _, now = _process(running)
            last.silent += 1
            last.idle = last.idle + 1 if now == last.ticks else 0
            last.ticks = now
            return self._silent(last, "no answer on its control socket", TRIES)
        self._last = _Look(running, ticks)
        return Finding(State.OK)

    @property
    def hung(self) -> Running | None:
        """The process, if it hangs: it has not only not answered but done nothing."""
        last = self._last
        if last is None:
            return None
        enough = TRIES_STOPPED if _process(last.running)[0] in "Tt" else TRIES
        return last.running if last.idle >= enough else None

    def end_hung(self) -> bool:
        """Kill the process if it hangs; its supervisor starts another. Returns whether it was killed."""
        hung = self.hung
        if hung is None:
            return False
        try:
            fd = os.pidfd_open(hung.pid)
        except ProcessLookupError:
            return False
        try:
            now = daemon.process_of(hung.pid)
            if now is None or now.started != hung.started:
                return False
            signal.pidfd_send_signal(fd, signal.SIGKILL)
        except ProcessLookupError:
            return False
        finally:
            os.close(fd)
        return True

    @staticmethod
    def _silent(last: _Look, what: str, tries: int) -> Finding:
        if last.idle >= tries:
            return Finding(State.BAD, f"it hangs: {what}, pid {last.running.pid}")
        if last.silent >= BUSY_LOOKS:
            return Finding(State.BAD, f"it has been too busy to answer for long, pid {last.running.pid}")
        return Finding(State.UNKNOWN, what)


def _process(running: Running) -> tuple[str, int]:
    """Return state letter and used processor time of a process (proc(5), stat fields 3, 14 and 15)."""
    try:
        stat = daemon.small_file(f"/proc/{running.pid}/stat")
    except OSError:
        return "X", 0
    fields = stat.rpartition(")")[2].split()
    return fields[0], int(fields[11]) + int(fields[12])
