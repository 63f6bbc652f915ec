"""The way between a node and the outside host is gone, with every link up: what a broken switch on the way looks like.

It acts in the lab's outside switch. This module must never load rules anywhere but in a lab's fabric.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import ClassVar

from ovenbird.lab import partition
from ovenbird.lab.faults.fault import Fault
from ovenbird.lab.node import Node
from ovenbird.lab.partition import Cut
from ovenbird.lab.probe import socket_of
from ovenbird.lab.wiring import OUTSIDE_SWITCH, Cable

_EXPERIMENTAL = 0x88B5
"""EtherType for local experiments (IEEE 802)."""


@dataclass(kw_only=True)
class NextHopCut(Fault):
    """Drop every frame between a node and the outside host, both ways; the node's other neighbours stay reachable."""

    kind: ClassVar[str] = "next-hop-cut"
    stored: ClassVar[tuple[str, ...]] = ("node", "nodes", "peers")
    node: str
    nodes: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.nodes, self.peers = (self.node,), (self.lab.outside.name,)

    def describe(self) -> str:
        """Return one line for people."""
        return f"next hop outside out of reach of {self.node}"

    def available(self) -> str | None:
        """Say no when the node has no uplink."""
        return None if self._cable(self.lab.node(self.node)) else "it has no uplink"

    def act(self) -> None:
        """Load the rules of every active fault."""
        partition.apply(self.lab.fabric.require_init(), self.lab.file.require().faults)

    def bites(self) -> bool:
        """Send a frame each way and see in the rules' counters that it was dropped."""
        for node in (self.lab.node(self.node), self.lab.outside):
            if node.is_up and (cable := self._cable(node)) is not None:
                _broadcast(node, cable)
        counted = partition.dropped(self.lab.fabric.require_init())
        ways = Cut(fault=self.number, nodes=self.nodes, peers=self.peers, outside=True).ways
        return all(counted.get((self.number, way), 0) > 0 for way in ways)

    def undo(self) -> None:
        """Load the rules of the faults that are left."""
        fabric = self.lab.fabric.init
        if fabric is not None:
            left = [item for item in self.lab.file.require().faults if item["id"] != self.number]
            partition.apply(fabric, left)

    def _cable(self, node: Node) -> Cable | None:
        return next((cable for cable in self.lab.cables(node) if cable.switch == OUTSIDE_SWITCH), None)


def _broadcast(node: Node, cable: Cable) -> None:
    """Send a frame that nobody has a use for to everybody on the outside switch."""
    source = bytes.fromhex(cable.mac.replace(":", ""))
    with socket_of(node.require_init(), socket.SOCK_RAW, 0, family=socket.AF_PACKET) as endpoint:
        endpoint.bind((cable.interface, 0))
        endpoint.send((b"\xff" * 6 + source + _EXPERIMENTAL.to_bytes(2, "big")).ljust(60, b"\0"))
