"""Faults of a node's power and cables: switched off, no carrier, a carrier that comes and goes.

This module must never touch a link outside of a lab's fabric.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import ClassVar

from ovenbird.lab import wiring
from ovenbird.lab.faults.fault import Fault
from ovenbird.model.errors import UserError


@dataclass(kw_only=True)
class PowerOff(Fault):
    """Take a node's power: every process of it ends at once, nothing is flushed, its disk stays."""

    kind: ClassVar[str] = "power-off"
    stored: ClassVar[tuple[str, ...]] = ("node",)
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


@dataclass(kw_only=True)
class LinkDown(Fault):
    """Switch off the switch's port of one cable: the node's interface loses its carrier."""

    kind: ClassVar[str] = "link-down"
    stored: ClassVar[tuple[str, ...]] = ("node", "interface", "port")
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
        try:
            return self._statistic("carrier") == 0
        except OSError:  # an interface that the node itself has taken down has no carrier to speak of
            return False

    def undo(self) -> None:
        """Switch the port on."""
        self._move(up=True)

    def _move(self, *, up: bool) -> None:
        fabric = self.lab.fabric.init
        if fabric is not None and self.port in wiring.ports(fabric):
            wiring.set_port(fabric, self.port, up=up)

    def _statistic(self, name: str) -> int:
        path = self.lab.node(self.node).path(f"/sys/class/net/{self.interface}/{name}")
        return int(path.read_text(encoding="ascii"))


@dataclass(kw_only=True)
class LinkFlap(LinkDown):
    """Take the carrier away and give it back, `times` times; then the fault is over by itself."""

    kind: ClassVar[str] = "link-flap"
    kept: ClassVar[bool] = True
    stored: ClassVar[tuple[str, ...]] = ("node", "interface", "port", "times", "down_s", "up_s")
    times: int = 10
    down_s: float = 1.0
    up_s: float = 1.0
    _losses_before: int = 0

    def describe(self) -> str:
        """Return one line for people."""
        rhythm = f"{self.times} times {self.down_s:g} s down, {self.up_s:g} s up"
        return f"flapping carrier on {self.interface} of {self.node}: {rhythm}"

    def available(self) -> str | None:
        """Say no when the port is off already, or gone with its node."""
        if self.times < 1 or self.down_s <= 0 or self.up_s <= 0:
            raise UserError("a link flaps at least once, and for more than 0 s", subject=self.node)
        return super().available()

    def act(self) -> None:
        """Take the carrier for the first time; the keeper does the rest."""
        self._losses_before = self._losses()
        super().act()

    def bites(self) -> bool:
        """Whether the node's interface has counted a loss of carrier."""
        return self._losses() > self._losses_before

    def keep(self, over: threading.Event) -> None:
        """Move the port up and down until it was down often enough."""
        for last in range(1, self.times + 1):
            for up, pause_s in ((False, self.down_s), (True, self.up_s)):
                with self.lab.file.locked():
                    if not self.is_active:
                        return
                    self._move(up=up)
                if over.wait(pause_s if not (up and last == self.times) else 0):
                    return
        self.heal()

    def _losses(self) -> int:
        return self._statistic("carrier_down_count")
