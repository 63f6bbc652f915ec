"""Faults of one daemon: killed, told to leave, stopped without ending, killed again whenever it comes back.

This module must never signal anything but a process found by pid, start time and pid file of a node of the lab.
"""

from __future__ import annotations

import signal
import threading
from dataclasses import dataclass
from typing import ClassVar

from ovenbird.lab.faults.fault import Fault
from ovenbird.lab.node import ALIASES, start_agent
from ovenbird.lab.process import Process
from ovenbird.model.errors import OvenbirdError, UserError

_EXIT_TIMEOUT_S = 10.0
_RETURN_POLL_S = 0.05


@dataclass(kw_only=True)
class Kill(Fault):
    """End one daemon with a signal. Nothing to heal, except for the agent, which nothing else would start again."""

    kind: ClassVar[str] = "kill"
    stored: ClassVar[tuple[str, ...]] = ("node", "daemon")
    node: str
    daemon: str
    number_of_signal: signal.Signals = signal.SIGKILL
    victim: Process | None = None

    def describe(self) -> str:
        """Return one line for people."""
        return f"{self.number_of_signal.name} to {self.daemon} on {self.node}"

    def available(self) -> str | None:
        """Say no when the daemon does not run."""
        self.victim = self.lab.node(self.node).daemon(self.daemon)
        return None

    def act(self) -> None:
        """Send the signal to the very process that holds the pid file."""
        assert self.victim is not None
        self.victim.signal(self.number_of_signal)

    def bites(self) -> bool:
        """Whether that process has gone."""
        return self.victim is None or not self.victim.is_alive

    def is_back(self) -> bool:
        """Whether another process has taken the place of the one that was killed."""
        found = self.lab.node(self.node).pids().get(ALIASES.get(self.daemon, self.daemon))
        return found is not None and found != self.victim

    def undo(self) -> None:
        """Start the agent again; the agent sees to all other daemons."""
        node = self.lab.node(self.node)
        if self.daemon == "agent" and node.is_up:
            start_agent(node)

    @property
    def stays(self) -> bool:
        """Only a dead agent stays dead."""
        return self.daemon == "agent"


@dataclass(kw_only=True)
class Exit(Kill):
    """Ask one daemon to leave in good order, as a package upgrade does (`ovs-appctl exit`); the agent starts it again.

    ovn-controller gets `--restart`: without it, it would take its chassis out of the cluster.
    """

    kind: ClassVar[str] = "exit"

    def describe(self) -> str:
        """Return one line for people."""
        return f"orderly end of {self.daemon} on {self.node}"

    def act(self) -> None:
        """Send the control command; the agent has no control socket and gets SIGTERM."""
        assert self.victim is not None
        if self.daemon == "agent":
            self.victim.signal(signal.SIGTERM)
            return
        node = self.lab.node(self.node)
        restart = ["--restart"] if self.daemon == "ovn-controller" else []
        command = ["ovs-appctl", "-T", "5", "-t", control_socket(self.daemon, self.victim), "exit", *restart]
        node.run(command, timeout_s=_EXIT_TIMEOUT_S).checked(subject=self.node)


@dataclass(kw_only=True)
class Stop(Fault):
    """Stop one daemon without ending it (SIGSTOP): its sockets stay open and it believes what it believed."""

    kind: ClassVar[str] = "stop"
    stored: ClassVar[tuple[str, ...]] = ("node", "daemon", "process")
    node: str
    daemon: str
    process: tuple[int, int] | None = None
    """pid and start time of the process that was stopped."""

    def describe(self) -> str:
        """Return one line for people."""
        return f"stop of {self.daemon} on {self.node}"

    @property
    def victim(self) -> Process | None:
        """The process that is or was stopped."""
        return None if self.process is None else Process(*self.process)

    def available(self) -> str | None:
        """Say no when the daemon does not run, or is stopped already."""
        victim = self.lab.node(self.node).daemon(self.daemon)
        self.process = (victim.pid, victim.start_ticks)
        return "it is stopped already" if victim.state == "T" else None

    def act(self) -> None:
        """Stop the very process that holds the pid file."""
        assert self.victim is not None
        self.victim.signal(signal.SIGSTOP)

    def bites(self) -> bool:
        """Whether the kernel says that the process is stopped, or somebody has ended it for that already.

        A stopped process cannot end by itself: one that is gone was killed, as an agent does with one that hangs.
        """
        return self.victim is not None and (self.victim.state == "T" or not self.victim.is_alive)

    def undo(self) -> None:
        """Continue it, if it still lives."""
        if self.victim is not None:
            self.victim.signal(signal.SIGCONT)


@dataclass(kw_only=True)
class CrashLoop(Kill):
    """Kill one daemon, and kill it again whenever it is back, until it was killed `times` times in all."""

    kind: ClassVar[str] = "crash-loop"
    kept: ClassVar[bool] = True
    stored: ClassVar[tuple[str, ...]] = ("node", "daemon", "times", "killed", "process")
    times: int = 5
    killed: int = 0
    process: tuple[int, int] | None = None
    """pid and start time of the process that was killed first."""

    def describe(self) -> str:
        """Return one line for people."""
        return f"{self.times} times SIGKILL to {self.daemon} on {self.node}"

    def available(self) -> str | None:
        """Say no when the daemon does not run."""
        if self.times < 1:
            raise UserError(f"a crash loop of {self.times} times", subject=self.node)
        self.victim = self.lab.node(self.node).daemon(self.daemon)
        self.process = (self.victim.pid, self.victim.start_ticks)
        return None

    def act(self) -> None:
        """Kill it for the first time; the keeper does the rest."""
        super().act()
        self._count()

    @property
    def stays(self) -> bool:
        """It goes on until it was killed often enough."""
        return True

    def keep(self, over: threading.Event) -> None:
        """Kill the daemon whenever it is back, until it was killed often enough."""
        node, last = self.lab.node(self.node), self.process
        while not over.wait(_RETURN_POLL_S):
            found = node.pids().get(ALIASES.get(self.daemon, self.daemon)) if node.is_up else None
            with self.lab.file.locked():
                if not self.is_active:
                    return
                if found is not None and (found.pid, found.start_ticks) != last and self.killed < self.times:
                    last = (found.pid, found.start_ticks)
                    found.signal(signal.SIGKILL)
                    self._count()
                if self.killed >= self.times:
                    self.heal()
                    return

    def kills(self) -> int:
        """Return how many times the daemon has been killed so far."""
        return next(
            (item["killed"] for item in self.lab.file.require().faults if item["id"] == self.number), self.times
        )

    def _count(self) -> None:
        self.killed += 1
        with self.lab.file.change() as state:
            for item in state.faults:
                if item["id"] == self.number:
                    item["killed"] = self.killed


def control_socket(daemon: str, process: Process) -> str:
    """Return the path of a daemon's control socket inside of its node (docs/architecture.md, Files and sockets)."""
    name = ALIASES.get(daemon, daemon)
    directory = {"ovn": "ovn", "ovs": "openvswitch", "db": "ovenbird"}.get(name.partition("-")[0][:3], "")
    if name == "agent" or not directory:
        raise OvenbirdError(f"{daemon} has no control socket", subject=daemon)
    by_pid = name in ("ovn-controller", "ovs-vswitchd", "ovsdb-server")
    return f"/run/{directory}/{name}.{process.inner_pid}.ctl" if by_pid else f"/run/{directory}/{name}.ctl"
