"""A gateway that an operator drains: nothing breaks, but a drill can measure what a workload sees of it.

It is on record as a fault, so that whoever heals a lab also gives back a gateway that a killed drill had drained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ovenbird.api.client import Client
from ovenbird.lab.faults.fault import Fault
from ovenbird.model.errors import OvenbirdError


@dataclass(kw_only=True)
class Drain(Fault):
    """Drain a gateway; healed by undrain."""

    kind: ClassVar[str] = "drain"
    stored: ClassVar[tuple[str, ...]] = ("node",)
    node: str

    def describe(self) -> str:
        """Return one line for people."""
        return f"drain of {self.node}"

    def available(self) -> str | None:
        """Say no when it is drained already, or Ovenbird refuses; raises what the API raises for nonsense."""
        try:
            if self._gateway()["drained"]:
                return "it is drained already"
            self._client.post("/v1/gateways/drain", {"node": self.node, "dry_run": True})
        except OvenbirdError as error:
            return error.message
        return None

    def act(self) -> None:
        """Drain it."""
        self._client.post("/v1/gateways/drain", {"node": self.node})

    def bites(self) -> bool:
        """Whether it carries nothing."""
        return not self._gateway()["carries"]

    def undo(self) -> None:
        """Undrain it."""
        self._client.post("/v1/gateways/undrain", {"node": self.node})

    @property
    def _client(self) -> Client:
        return Client(self.lab.central_sockets())

    def _gateway(self) -> dict[str, Any]:
        told = self._client.get("/v1/gateways")["gateways"]
        found: dict[str, Any] = next((one for one in told if one["name"] == self.node), {})
        return {"drained": False, "carries": [], **found}
