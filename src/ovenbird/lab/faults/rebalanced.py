"""Routers spread over gateways again by an operator: nothing breaks, but a drill can measure what is seen of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ovenbird.api.client import Client
from ovenbird.lab.faults.fault import Fault
from ovenbird.model.errors import OvenbirdError


@dataclass(kw_only=True)
class Rebalance(Fault):
    """Rebalance the routers; there is nothing to heal."""

    kind: ClassVar[str] = "rebalance"
    stored: ClassVar[tuple[str, ...]] = ("node",)
    node: str
    """Any gateway: all take part."""

    def describe(self) -> str:
        """Return one line for people."""
        return "rebalance of all routers"

    def available(self) -> str | None:
        """Say no when nothing would move."""
        try:
            moves = self._client.post("/v1/gateways/rebalance", {"dry_run": True})["moves"]
        except OvenbirdError as error:
            return error.message
        return None if moves else "the routers are balanced already"

    def act(self) -> None:
        """Rebalance."""
        self._client.post("/v1/gateways/rebalance", {})

    def bites(self) -> bool:
        """Whether every router is where it should be, and nothing more would move."""
        told: dict[str, Any] = self._client.get("/v1/gateways")
        moved = all(one["active"] == one["order"][0] for one in told["routers"])
        return moved and not self._client.post("/v1/gateways/rebalance", {"dry_run": True})["moves"]

    def undo(self) -> None:
        """Nothing to take back."""

    @property
    def stays(self) -> bool:
        """It is over once it is done."""
        return False

    @property
    def _client(self) -> Client:
        return Client(self.lab.central_sockets())
