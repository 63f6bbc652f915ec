"""Delay of everything that a node sends and receives on the underlay, by a relay of our own: no netem is needed.

While it lasts, the node's port is out of the switch and the lab's keeper copies its frames. This module must never
leave a node's port out of the switch when the fault is healed.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import ClassVar

from ovenbird.lab import relay, wiring
from ovenbird.lab.faults.fault import Fault
from ovenbird.lab.node import Node
from ovenbird.lab.spec import UNDERLAY_INTERFACE
from ovenbird.lab.wiring import Cable
from ovenbird.model.errors import OvenbirdError, UserError

_RETRY_S = 0.2
_PING_TIMEOUT_S = 5


@dataclass(kw_only=True)
class Delay(Fault):
    """Hold up each frame of a node's underlay cable, each way, in order."""

    kind: ClassVar[str] = "delay"
    kept: ClassVar[bool] = True
    stored: ClassVar[tuple[str, ...]] = ("node", "delay_ms", "jitter_ms")
    node: str
    delay_ms: float = 50.0
    jitter_ms: float = 0.0

    def describe(self) -> str:
        """Return one line for people."""
        jitter = f" + up to {self.jitter_ms:g}" if self.jitter_ms else ""
        return f"delay of {self.delay_ms:g}{jitter} ms each way on the underlay of {self.node}"

    def available(self) -> str | None:
        """Say no when the node is off, not on the underlay, or delayed already."""
        if not (0 < self.delay_ms <= 10_000 and 0 <= self.jitter_ms <= 10_000):
            raise UserError(f"a delay of {self.delay_ms:g} ms (up to 10000)", subject=self.node)
        node = self.lab.node(self.node)
        if node.spec is None:
            return f"{self.node} is not on the underlay"
        records = self.lab.file.require().faults
        if any(item["kind"] == self.kind and item["node"] == self.node for item in records):
            return "it is delayed already"
        return None if node.is_up else "the node is off"

    def act(self) -> None:
        """Nothing yet: the keeper puts itself between, so that no moment is without a relay."""

    def keep(self, over: threading.Event) -> None:
        """Relay the node's frames until `over`; begin again when the cable was pulled (a power cycle)."""
        while not over.is_set():
            try:
                self._relay(over)
            except (OSError, OvenbirdError):
                over.wait(_RETRY_S)

    def bites(self) -> bool:
        """Whether a packet to the node and its answer take twice the delay."""
        others = [node for node in self.lab.nodes.values() if node.name != self.node and node.is_up and node.spec]
        spec = self.lab.node(self.node).spec
        return bool(others) and spec is not None and (round_trip_ms(others[0], spec.address) or 0) >= 2 * self.delay_ms

    def undo(self) -> None:
        """Put the node's port back into the switch."""
        fabric = self.lab.fabric.init
        if fabric is not None:
            wiring.let_go(fabric, self._cable)

    @property
    def _cable(self) -> Cable:
        cables = self.lab.cables(self.lab.node(self.node))
        return next(cable for cable in cables if cable.interface == UNDERLAY_INTERFACE)

    def _relay(self, over: threading.Event) -> None:
        with self.lab.file.locked():
            if not self.is_active:
                return
            fabric = self.lab.fabric.require_init()
            inner, outer = wiring.hold_up(fabric, self._cable)
        with relay.frames_of(fabric, inner) as one, relay.frames_of(fabric, outer) as other:
            relay.relay(one, other, over, delay_s=self.delay_ms / 1000, jitter_s=self.jitter_ms / 1000)


def round_trip_ms(source: Node, address: str) -> float | None:
    """Return how long a ping took, or None if it was not answered."""
    answer = source.run(["ping", "-c", "1", "-W", str(_PING_TIMEOUT_S - 2), address], timeout_s=_PING_TIMEOUT_S)
    found = re.search(r"time=([0-9.]+) ms", answer.stdout)
    return float(found.group(1)) if found else None
