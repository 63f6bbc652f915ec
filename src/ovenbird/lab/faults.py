"""Faults on the nodes of a lab: each can be injected, proven to bite, and healed.

A fault that stays (everything but a kill) is in the lab's state file before it is injected, so that a later command can
heal it. A fault that was injected and did not bite is an error: a drill that believes in it would measure nothing.
This module must never signal anything but a process found by pid, start time and pid file of a node of the lab.
"""

from __future__ import annotations

import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ovenbird.lab import partition, probe, wiring
from ovenbird.lab.lab import Lab
from ovenbird.lab.node import start_agent
from ovenbird.lab.partition import Cut, Direction, Plane
from ovenbird.lab.process import Process
from ovenbird.model.errors import OvenbirdError, Refused, UserError

VERIFY_TIMEOUT_S = 5.0


class DidNotBite(OvenbirdError):
    """A fault was injected and has no effect; whatever is measured now is invalid."""

    default_code = "fault_did_not_bite"


@dataclass(kw_only=True)
class Fault(ABC):
    """One fault on a lab."""

    kind: ClassVar[str]
    lab: Lab
    number: int = 0
    """Given by the state file when it is injected; 0 before."""

    @abstractmethod
    def describe(self) -> str:
        """Return one line for people."""

    @abstractmethod
    def available(self) -> str | None:
        """Return why the fault cannot be injected now, or None if it can."""

    @abstractmethod
    def act(self) -> None:
        """Make it happen; called with the lab held and the fault recorded."""

    @abstractmethod
    def bites(self) -> bool:
        """Look once whether the fault has its effect."""

    @abstractmethod
    def undo(self) -> None:
        """Take it back; called with the lab held and the fault off the record."""

    def parameters(self) -> dict[str, Any]:
        """Return what the state file must keep to heal the fault later."""
        return {}

    @property
    def stays(self) -> bool:
        """Whether there is something to heal."""
        return True

    def inject(self) -> None:
        """Inject the fault; raises `Refused` if it is not available."""
        with self.lab.file.locked():
            reason = self.available()
            if reason is not None:
                raise Refused(f"{self.describe()}: {reason}", code="fault_unavailable", subject=self.lab.name)
            if self.stays:
                with self.lab.file.change() as state:
                    self.number = 1 + max((item["id"] for item in state.faults), default=0)
                    state.faults.append({"kind": self.kind, "id": self.number, **self.parameters()})
            self.act()

    def verify_injected(self, *, timeout_s: float = VERIFY_TIMEOUT_S) -> None:
        """Prove by its effect that the fault bites; raises `DidNotBite`."""
        deadline = time.monotonic() + timeout_s
        while not self.bites():
            if time.monotonic() > deadline:
                raise DidNotBite(f"{self.describe()}: no effect within {timeout_s:g} s", subject=self.lab.name)
            time.sleep(0.02)

    def heal(self) -> None:
        """Take the fault back; healing what is healed changes nothing."""
        with self.lab.file.locked():
            self.forget()
            self.undo()

    def forget(self) -> None:
        """Take the fault off the record."""
        with self.lab.file.change() as state:
            state.faults = [item for item in state.faults if item["id"] != self.number]


@dataclass(kw_only=True)
class Kill(Fault):
    """End one daemon with a signal. Nothing to heal, except for the agent, which nothing else would start again."""

    kind: ClassVar[str] = "kill"
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

    def undo(self) -> None:
        """Start the agent again; the agent sees to all other daemons."""
        node = self.lab.node(self.node)
        if self.daemon == "agent" and node.is_up:
            start_agent(node)

    def parameters(self) -> dict[str, Any]:
        """Return the fields of the record."""
        return {"node": self.node, "daemon": self.daemon}

    @property
    def stays(self) -> bool:
        """Only a dead agent stays dead."""
        return self.daemon == "agent"


@dataclass(kw_only=True)
class Stop(Fault):
    """Stop one daemon without ending it (SIGSTOP): its sockets stay open and it believes what it believed."""

    kind: ClassVar[str] = "stop"
    node: str
    daemon: str
    victim: Process | None = None

    def describe(self) -> str:
        """Return one line for people."""
        return f"stop of {self.daemon} on {self.node}"

    def available(self) -> str | None:
        """Say no when the daemon does not run, or is stopped already."""
        self.victim = self.lab.node(self.node).daemon(self.daemon)
        return "it is stopped already" if self.victim.state == "T" else None

    def act(self) -> None:
        """Stop the very process that holds the pid file."""
        assert self.victim is not None
        self.victim.signal(signal.SIGSTOP)

    def bites(self) -> bool:
        """Whether the kernel says that the process is stopped."""
        return self.victim is not None and self.victim.state == "T"

    def undo(self) -> None:
        """Continue it, if it still lives."""
        if self.victim is not None:
            self.victim.signal(signal.SIGCONT)

    def parameters(self) -> dict[str, Any]:
        """Return the fields of the record."""
        assert self.victim is not None
        process = [self.victim.pid, self.victim.start_ticks]
        return {"node": self.node, "daemon": self.daemon, "process": process}


@dataclass(kw_only=True)
class PowerOff(Fault):
    """Take a node's power: every process of it ends at once, nothing is flushed, its disk stays."""

    kind: ClassVar[str] = "power-off"
    node: str

    def describe(self) -> str:
        """Return one line for people."""
        return f"power off of {self.node}"

    def available(self) -> str | None:
        """Say no when it is off already."""
        return None if self.lab.node(self.node).is_up else "it is off already"

    def act(self) -> None:
        """Kill the node's init; the kernel kills the rest."""
        self.lab.power_off(self.node)

    def bites(self) -> bool:
        """Whether no process of the node is left."""
        return not self.lab.node(self.node).is_up

    def undo(self) -> None:
        """Boot the node."""
        self.lab.power_on(self.node)

    def parameters(self) -> dict[str, Any]:
        """Return the fields of the record."""
        return {"node": self.node}


@dataclass(kw_only=True)
class LinkDown(Fault):
    """Switch off the switch's port of one cable: the node's interface loses its carrier."""

    kind: ClassVar[str] = "link-down"
    node: str
    interface: str

    def describe(self) -> str:
        """Return one line for people."""
        return f"no carrier on {self.interface} of {self.node}"

    @property
    def port(self) -> str:
        """The switch's port."""
        cables = self.lab.cables(self.lab.node(self.node))
        found = next((cable.port for cable in cables if cable.interface == self.interface), None)
        if found is None:
            have = ", ".join(cable.interface for cable in cables)
            raise UserError(f"{self.node} has no interface {self.interface}", subject=self.node, hint=f"it has {have}")
        return found

    def available(self) -> str | None:
        """Say no when the port is off already, or gone with its node."""
        state = wiring.ports(self.lab.fabric.require_init()).get(self.port)
        return {None: "the node is off", False: "it is down already", True: None}[state]

    def act(self) -> None:
        """Switch the port off."""
        wiring.set_port(self.lab.fabric.require_init(), self.port, up=False)

    def bites(self) -> bool:
        """Whether the node sees no carrier."""
        carrier = self.lab.node(self.node).run(["cat", f"/sys/class/net/{self.interface}/carrier"], timeout_s=5)
        return carrier.stdout.strip() == "0"

    def undo(self) -> None:
        """Switch the port on."""
        fabric = self.lab.fabric.require_init()
        if self.port in wiring.ports(fabric):
            wiring.set_port(fabric, self.port, up=True)

    def parameters(self) -> dict[str, Any]:
        """Return the fields of the record."""
        return {"node": self.node, "interface": self.interface, "port": self.port}


@dataclass(kw_only=True)
class Partition(Fault):
    """Cut groups of nodes off each other on the underlay: wholly, in one direction, or one plane only."""

    kind: ClassVar[str] = "partition"
    nodes: tuple[str, ...]
    peers: tuple[str, ...] = ()
    direction: Direction = "both"
    plane: Plane = "all"
    _seen: set[str] = field(default_factory=set)

    @property
    def cut(self) -> Cut:
        """The cut as the fabric's rules have it."""
        return Cut(fault=self.number, nodes=self.nodes, peers=self.peers, direction=self.direction, plane=self.plane)

    @property
    def far(self) -> tuple[str, ...]:
        """Names of the nodes on the other side."""
        return self.peers or tuple(name for name in self.lab.nodes if name not in self.nodes)

    def describe(self) -> str:
        """Return one line for people."""
        arrow = {"both": "<-x->", "out": "-x->", "in": "<-x-"}[self.direction]
        plane = "" if self.plane == "all" else f", {self.plane} plane only"
        return f"partition {','.join(self.nodes)} {arrow} {','.join(self.peers) or 'all others'}{plane}"

    def available(self) -> str | None:
        """Say no when a side is empty or both share a node."""
        for name in (*self.nodes, *self.peers):
            if self.lab.node(name).spec is None:
                return f"{name} is not on the underlay (take its link down instead)"
        both = sorted(set(self.nodes) & set(self.peers))
        if both:
            return f"{', '.join(both)} cannot be on both sides"
        return None if self.nodes and self.far else "nobody is on the other side"

    def act(self) -> None:
        """Load the rules of every active fault."""
        partition.apply(self.lab.fabric.require_init(), self.lab.file.require().faults)

    def bites(self) -> bool:
        """Send packets that the cut must drop, and see in the rules' counters that it did, each way that is cut."""
        near = [node for node in map(self.lab.node, self.nodes) if node.is_up]
        far = [node for node in map(self.lab.node, self.far) if node.is_up]
        for way in self.cut.ways:
            sources, targets = (near, far) if way == "out" else (far, near)
            for source in sources:
                addresses = [target.spec.address for target in targets if target.spec]
                probe.send(source.require_init(), addresses, self.plane)
        counted = partition.dropped(self.lab.fabric.require_init())
        self._seen |= {way for way in self.cut.ways if counted.get((self.number, way), 0) > 0}
        return self._seen == set(self.cut.ways)

    def undo(self) -> None:
        """Load the rules of the faults that are left."""
        fabric = self.lab.fabric.init
        if fabric is not None:
            partition.apply(fabric, self.lab.file.require().faults)

    def parameters(self) -> dict[str, Any]:
        """Return the fields of the record."""
        return {
            "nodes": list(self.nodes),
            "peers": list(self.peers),
            "direction": self.direction,
            "plane": self.plane,
        }


def active(lab: Lab) -> list[Fault]:
    """Return the faults that are recorded as active, oldest first."""
    return [_restored(lab, item) for item in lab.file.require().faults]


def heal(lab: Lab, *, node: str = "") -> list[Fault]:
    """Heal all active faults, or those of one node, newest first; return what was healed."""
    healed = [fault for fault in reversed(active(lab)) if not node or concerns(fault, node)]
    for fault in healed:
        fault.heal()
    return healed


def concerns(fault: Fault, node: str) -> bool:
    """Whether a fault is on this node."""
    return node == getattr(fault, "node", None) or node in getattr(fault, "nodes", ())


_RESTORE: dict[str, Callable[[Lab, Mapping[str, Any]], Fault]] = {
    "kill": lambda lab, item: Kill(lab=lab, node=item["node"], daemon=item["daemon"]),
    "stop": lambda lab, item: Stop(lab=lab, node=item["node"], daemon=item["daemon"], victim=Process(*item["process"])),
    "power-off": lambda lab, item: PowerOff(lab=lab, node=item["node"]),
    "link-down": lambda lab, item: LinkDown(lab=lab, node=item["node"], interface=item["interface"]),
    "partition": lambda lab, item: Partition(
        lab=lab,
        nodes=tuple(item["nodes"]),
        peers=tuple(item["peers"]),
        direction=item["direction"],
        plane=item["plane"],
    ),
}


def _restored(lab: Lab, item: Mapping[str, Any]) -> Fault:
    fault = _RESTORE[item["kind"]](lab, item)
    fault.number = item["id"]
    return fault
