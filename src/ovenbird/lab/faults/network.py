"""Faults of the underlay: groups of nodes cut off each other, packets lost, and too little bandwidth.

They act in the lab's switch, below anything that runs in a node, and outlast a power cycle of the node.
This module must never load rules anywhere but in a lab's fabric.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from ovenbird.lab import partition, probe
from ovenbird.lab.faults.fault import Fault
from ovenbird.lab.partition import Cut, Direction, Plane
from ovenbird.model.errors import UserError

_FULL_PACKET_BYTES = 1200


@dataclass(kw_only=True)
class Partition(Fault):
    """Cut groups of nodes off each other on the underlay: wholly, in one direction, or one plane only."""

    kind: ClassVar[str] = "partition"
    looked_at_after_s: ClassVar[float] = 0.4
    """Looking sends packets from every node and asks nft(8): 10 to 20 ms of the processors on which others react."""
    stored: ClassVar[tuple[str, ...]] = ("nodes", "peers", "direction", "plane")
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

    @property
    def what(self) -> str:
        """What is done to the packets."""
        return "partition"

    def describe(self) -> str:
        """Return one line for people."""
        arrow = {"both": "<-x->", "out": "-x->", "in": "<-x-"}[self.direction]
        plane = "" if self.plane == "all" else f", {self.plane} plane only"
        return f"{self.what} {','.join(self.nodes)} {arrow} {','.join(self.peers) or 'all others'}{plane}"

    def available(self) -> str | None:
        """Say no when a side is empty or both share a node."""
        if self.direction not in ("in", "out", "both") or self.plane not in ("control", "data", "all"):
            raise UserError(
                f"direction {self.direction}, plane {self.plane}",
                subject=",".join(self.nodes),
                hint="directions: in, out, both; planes: control, data, all",
            )
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
        for way in self.cut.ways:
            self._provoke(way)
        counted = partition.dropped(self.lab.fabric.require_init())
        self._seen |= {way for way in self.cut.ways if counted.get((self.number, way), 0) > 0}
        return self._seen == set(self.cut.ways)

    def undo(self) -> None:
        """Load the rules of the faults that are left."""
        fabric = self.lab.fabric.init
        if fabric is not None:
            left = [item for item in self.lab.file.require().faults if item["id"] != self.number]
            partition.apply(fabric, left)

    def _provoke(self, way: str, *, count: int = 1, size: int = 1) -> None:
        near = [node for node in map(self.lab.node, self.nodes) if node.is_up]
        far = [node for node in map(self.lab.node, self.far) if node.is_up]
        sources, targets = (near, far) if way == "out" else (far, near)
        for source in sources:
            addresses = [target.spec.address for target in targets if target.spec]
            probe.send(source.require_init(), addresses, self.plane, count=count, size=size)


@dataclass(kw_only=True)
class Loss(Partition):
    """Lose a share of the packets, each by chance."""

    kind: ClassVar[str] = "loss"
    stored: ClassVar[tuple[str, ...]] = (*Partition.stored, "percent")
    percent: float = 10.0

    @property
    def what(self) -> str:
        """What is done to the packets."""
        return f"loss of {self.percent:g}%"

    def available(self) -> str | None:
        """Say no as a partition does."""
        if not 0.01 <= self.percent <= 100:
            raise UserError(f"a loss of {self.percent:g}% (0.01 to 100)", subject=",".join(self.nodes))
        return super().available()

    def _provoke(self, way: str, *, count: int = 1, size: int = 1) -> None:
        """Send enough for a few losses."""
        super()._provoke(way, count=count * math.ceil(300 / self.percent), size=size)


@dataclass(kw_only=True)
class Rate(Partition):
    """Let no more than a rate through, each way; what exceeds it is dropped (RFC 2475, policing), not queued."""

    kind: ClassVar[str] = "rate"
    stored: ClassVar[tuple[str, ...]] = (*Partition.stored, "kbit_per_s")
    kbit_per_s: int = 1000

    @property
    def what(self) -> str:
        """What is done to the packets."""
        return f"at most {self.kbit_per_s} kbit/s"

    @property
    def cut(self) -> Cut:
        """The cut as the fabric's rules have it."""
        return Cut(
            fault=self.number,
            nodes=self.nodes,
            peers=self.peers,
            direction=self.direction,
            plane=self.plane,
            kbit_per_s=self.kbit_per_s,
        )

    def available(self) -> str | None:
        """Say no as a partition does."""
        if not 8 <= self.kbit_per_s <= 10_000_000:
            raise UserError(f"a rate of {self.kbit_per_s} kbit/s (8 to 10000000)", subject=",".join(self.nodes))
        return super().available()

    def _provoke(self, way: str, *, count: int = 1, size: int = 1) -> None:
        """Send twice what may pass at once."""
        enough = 2 * self.cut.burst_bytes // _FULL_PACKET_BYTES
        super()._provoke(way, count=count * enough, size=_FULL_PACKET_BYTES)
