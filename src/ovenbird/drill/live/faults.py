"""The faults of live drills: each says first what it will do and why it must not, and leaves nothing to be healed.

They are what operators and package upgrades do anyway: a gateway is drained and given back, ovn-controller is ended in
good order and started again by its agent. This module must never act where `refusal` has a reason.
"""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

from ovenbird.drill.live import guard
from ovenbird.drill.live.host import LiveHost
from ovenbird.drill.stage import Api
from ovenbird.lab.process import Process
from ovenbird.model.errors import Refused

OVN_CONTROLLER = "ovn-controller"
COMMAND_TIMEOUT_S = 10.0
BACK_S = 30.0
MARGIN_S = 60.0
"""Besides the hold-down, a router may take this long to come home."""
LIMIT_S = 120.0
"""The guard gives a gateway back after this time at the latest."""
MANUAL = "manual"
DEFAULT_DELAY_S = 60.0


class LiveFault(Protocol):
    """What the runner of live drills needs of a fault."""

    hold_s: float

    @property
    def target(self) -> str:
        """Return whom it is done to."""

    def describe(self) -> str:
        """Return one line for people: what will be done, and to whom."""

    def refusal(self) -> str:
        """Return why it must not be done now; "" if it may."""

    def inject(self) -> None:
        """Do it."""

    def bites(self) -> bool:
        """Look once whether it has its effect."""

    def heal(self) -> None:
        """Take it back; doing so twice changes nothing."""

    def is_back(self) -> bool:
        """Look once whether everything is as before."""

    def return_timeout_s(self) -> float:
        """Return how long it may take to be as before."""


@dataclass
class Nothing:
    """`noop`."""

    target: str
    hold_s: float = 5.0

    def describe(self) -> str:
        """Return one line for people."""
        return "nothing"

    def refusal(self) -> str:
        """Nothing may always be done."""
        return ""

    def inject(self) -> None:
        """Do nothing."""

    def bites(self) -> bool:
        """Return that it did: there is no effect to wait for."""
        return True

    def heal(self) -> None:
        """There is nothing to take back."""

    def is_back(self) -> bool:
        """All is as before."""
        return True

    def return_timeout_s(self) -> float:
        """At once."""
        return 1.0


@dataclass
class ControllerRestart:
    """An orderly end of this host's ovn-controller; its agent starts it again, and flows stay meanwhile."""

    host: LiveHost
    hold_s: float = 0.0
    victim: Process | None = None

    @property
    def target(self) -> str:
        """Name of this host."""
        return self.host.name

    def describe(self) -> str:
        """Return one line for people."""
        return f"orderly restart of {OVN_CONTROLLER} on {self.host.name}"

    def refusal(self) -> str:
        """Say no when it does not run, or nobody would start it again."""
        self.victim = self.host.daemon(OVN_CONTROLLER)
        if self.victim is None:
            return f"{OVN_CONTROLLER} does not run on this host"
        return "" if self.host.agent() else "this host's agent does not run, and nobody else would start it again"

    def inject(self) -> None:
        """End it as a package upgrade does; `--restart` keeps its chassis and its flows."""
        assert self.victim is not None
        self._ask("exit", "--restart")

    def bites(self) -> bool:
        """Whether the process has gone."""
        return self.victim is None or not self.victim.is_alive

    def heal(self) -> None:
        """Leave it to the agent."""

    def is_back(self) -> bool:
        """Whether another one runs and is connected to SB."""
        found = self.host.daemon(OVN_CONTROLLER)
        if found is None or found == self.victim:
            return False
        self.victim, before = found, self.victim
        try:
            return self._ask("connection-status").strip() == "connected"
        finally:
            self.victim = before

    def return_timeout_s(self) -> float:
        """Return far more than the second or two that a restart takes."""
        return BACK_S

    def _ask(self, *command: str) -> str:
        assert self.victim is not None
        control = self.host.layout.ovn_run / f"{OVN_CONTROLLER}.{self.victim.inner_pid}.ctl"
        words = ["ovs-appctl", "-T", "5", "-t", str(control), *command]
        done = subprocess.run(words, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False)
        return done.stdout


@dataclass
class GatewayDrain:
    """A gateway is drained through the API, and given back."""

    host: LiveHost
    api: Api
    target: str = ""
    """The gateway; "": the only one that carries routers."""
    hold_s: float = 5.0
    carried: list[str] = field(default_factory=list)
    _guard: subprocess.Popen[bytes] | None = None

    def describe(self) -> str:
        """Return one line for people."""
        return f"drain of gateway {self.target}, which carries {', '.join(self.carried) or 'nothing'}"

    def refusal(self) -> str:
        """Say no when a router would not come home by itself, or Ovenbird would not drain the gateway."""
        told = self._told()
        if not self.target:
            busy = [one["name"] for one in told["gateways"] if one["carries"]]
            if len(busy) != 1:
                return f"which gateway? These carry routers: {', '.join(busy) or 'none'}. Say --gateway NAME"
            self.target = busy[0]
        gateway = next((one for one in told["gateways"] if one["name"] == self.target), None)
        if gateway is None:
            return f"there is no gateway {self.target}"
        self.carried = list(gateway["carries"])
        return self._reason(gateway, [one for one in told["routers"] if one["name"] in self.carried])

    def inject(self) -> None:
        """Drain it, with a guard that gives it back whatever becomes of us."""
        self._guard = guard.start(self.host.sockets, LIMIT_S)
        guard.remember(self.target)
        self.api.post("/v1/gateways/drain", {"node": self.target})

    def bites(self) -> bool:
        """Whether it carries nothing."""
        return not any(one["carries"] for one in self._told()["gateways"] if one["name"] == self.target)

    def heal(self) -> None:
        """Give it back, and let the guard go."""
        guard.give_back(self.host.sockets)
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.close()
            self._guard.wait(COMMAND_TIMEOUT_S)
            self._guard = None

    def is_back(self) -> bool:
        """Whether it carries again what it carried."""
        carries = {name for one in self._told()["gateways"] if one["name"] == self.target for name in one["carries"]}
        return set(self.carried) <= carries

    def return_timeout_s(self) -> float:
        """Return the longest hold-down of its routers, and a margin."""
        return MARGIN_S + max((self._delay_s(name) for name in self.carried), default=0.0)

    def _reason(self, gateway: dict[str, Any], routers: list[dict[str, Any]]) -> str:
        if gateway["drained"]:
            return f"{self.target} is drained already, and not by this drill"
        if not routers:
            return f"{self.target} carries no router: nothing would be seen of its drain"
        for router in routers:
            if router["home"] != self.target or router["failback"] == MANUAL:
                why = "its failback is manual" if router["failback"] == MANUAL else f"its home is {router['home']}"
                return f"router {router['name']} would not come back to {self.target} by itself: {why}"
        try:
            self.api.post("/v1/gateways/drain", {"node": self.target, "dry_run": True})
        except Refused as error:
            return error.message
        return ""

    def _told(self) -> dict[str, Any]:
        return self.api.get("/v1/gateways", timeout_s=5.0)

    def _delay_s(self, router: str) -> float:
        gateways = self.api.get(f"/v1/objects/Router/{router}")["spec"].get("gateways") or {}
        return float(gateways.get("failback_delay_s") or DEFAULT_DELAY_S)


def wait_for(what: Any, timeout_s: float, every_s: float = 0.1) -> bool:
    """Return whether `what()` came true in time."""
    deadline_s = time.monotonic() + timeout_s
    while not what():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(every_s)
    return True
