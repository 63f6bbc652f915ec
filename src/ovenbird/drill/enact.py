"""Carries out a drill's script: injects on whom a target names now, holds, heals, and waits for the return to service.

Before anything is broken, the gateway that carries the stage's router must be the one that should. This module must
never judge: what did not work is recorded, and the run goes on to its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ovenbird.drill.crowd import carried
from ovenbird.drill.fault import Fault, make_fault
from ovenbird.drill.observers import Observers
from ovenbird.drill.record import (
    FAULT_HEALED,
    FAULT_INJECTED,
    FAULT_VERIFIED,
    GATEWAY_CLAIMED,
    ROUTERS_COUNTED,
    Event,
    Window,
)
from ovenbird.drill.scene import ready
from ovenbird.drill.script import Count, Drill, Each, Heal, Hold, Inject, Ready, Return, Step
from ovenbird.drill.stage import Api, Stage
from ovenbird.drill.targets import OF_TARGET, resolve
from ovenbird.lab.lab import Lab
from ovenbird.model.errors import OvenbirdError, Timeout

STEADY_TIMEOUT_S = 30.0
STEADY_S = 1.5
"""The gateway that should be active must have been so for this long before it is broken."""
HOME_STEADY_S = 1.0
STOCK_RETURN_S = 5.0
"""Without our agents, nobody starts again what was killed: how long its return is watched for all the same."""
POLL_S = 0.1
NOOP = "noop"
"""The fault that does nothing; it has a window all the same, so that its figures mean the same as the others'."""

Progress = Callable[[str], None]


@dataclass(slots=True)
class Enactment:
    """A drill's script on a stage, and what is gathered of it."""

    lab: Lab
    api: Api
    drill: Drill
    random: random.Random
    progress: Progress
    stage: Stage
    observers: Observers
    is_stock: bool = False
    """Whether our agents and controllers are away."""
    events: list[Event] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    injected: list[Fault] = field(default_factory=list)
    active: list[tuple[Fault, Window]] = field(default_factory=list)
    gateway_before: str = ""

    def note(self, kind: str, subject: str, what: str, at_ns: int | None = None, **data: Any) -> None:
        """Record an event and tell it."""
        self.events.append(Event(at_ns=at_ns or time.time_ns(), kind=kind, subject=subject, what=what, data=data))
        self.progress(what)

    @property
    def active_gateway(self) -> str:
        """Chassis that carries the stage's router now, as the observers saw it; "" for none."""
        claims = self._claims()
        return str(claims[-1].data.get("chassis", "")) if claims else ""

    async def steady(self) -> None:
        """Wait until the router has been for a while where it should be: on the first of its gateways.

        Raises `Timeout` when it is not, or when nobody says where it should be.
        """
        deadline_s = time.monotonic() + STEADY_TIMEOUT_S
        since_s, last = time.monotonic(), ""
        while not last or time.monotonic() - since_s < STEADY_S:
            active = self.active_gateway
            first, home = (active, active) if self.is_stock else await self._wanted()
            now = active if active == first == home else ""
            if now != last:
                since_s, last = time.monotonic(), now
            if time.monotonic() > deadline_s:
                raise Timeout(
                    f"router {self.stage.router} does not stay on the gateway that should carry it",
                    subject=self.stage.router,
                    evidence=f"it is on {active or 'none'}, first is {first or 'unknown'}, home {home or 'unknown'}",
                    hint="`ovenbird gateway list` shows who is good",
                )
            await asyncio.sleep(POLL_S)
        self.gateway_before = last

    async def enact(self, steps: tuple[Step, ...], it: str = "") -> None:
        """Do the steps in order; `it` is the node that an enclosing `Each` is at."""
        for step in steps:
            match step:
                case Inject():
                    await self._inject(step, it)
                case Hold(seconds=seconds):
                    await asyncio.sleep(seconds)
                case Heal():
                    await self._heal()
                case Ready(timeout_s=timeout_s):
                    await ready(self.lab, self.api, timeout_s)
                case Count():
                    # One that lost power a moment ago may still be called good.
                    broken = {node for _fault, window in self.active for node in window.targets}
                    counted = await asyncio.to_thread(carried, self.api)
                    found = {name: count for name, count in counted.items() if name not in broken}
                    self.note(ROUTERS_COUNTED, "routers", f"routers are carried by {found}", carries=found)
                case Each(target=target, steps=inner):
                    for node in await self._targets(target, ""):
                        await self.enact(inner, node)

    async def returned(self) -> int | None:
        """Wait until what was broken is back in service; return when, or None if it is not in time."""
        stayed = bool(self.active)
        await self._heal()
        if self.is_stock and (not stayed or self.drill.returns is Return.HEALTHY):
            await asyncio.sleep(STOCK_RETURN_S)  # nobody calls stock OVN healthy
            return None
        try:
            async with asyncio.timeout(self.drill.return_timeout_s):
                if self.drill.returns is Return.GATEWAY:
                    return await self._home()
                elif self.drill.returns is Return.HEALTHY:
                    # A status is a second old: what was killed must be seen to run again first.
                    while not await asyncio.to_thread(lambda: all(fault.is_back() for fault in self.injected)):
                        await asyncio.sleep(POLL_S)
                    await ready(self.lab, self.api, self.drill.return_timeout_s)
        except (TimeoutError, Timeout):
            return None
        return time.time_ns()

    async def _home(self) -> int:
        """Wait until the router is home to stay; return when it came.

        It must have been elsewhere. A gateway that starts again may claim it for a moment, before its BFD sessions are
        up, and lose it at once: that is not yet the return.
        """
        while True:
            claims = self._claims()
            if self._moved() and claims[-1].data.get("chassis") == self.gateway_before:
                came_ns = claims[-1].at_ns
                if time.time_ns() - came_ns >= HOME_STEADY_S * 1e9:
                    return came_ns
            await asyncio.sleep(POLL_S)

    async def _wanted(self) -> tuple[str, str]:
        """Return the gateway that is first for the router and its home, both "" when that cannot be asked."""
        with contextlib.suppress(OvenbirdError):
            told = await asyncio.to_thread(self.api.get, "/v1/gateways", timeout_s=5.0)
            router = next((one for one in told["routers"] if one["name"] == self.stage.router), None)
            if router:
                return str(next(iter(router["order"]), "")), str(router["home"])
        return "", ""

    async def _targets(self, target: str, it: str) -> tuple[str, ...]:
        status: Mapping[str, Any] = {}
        with contextlib.suppress(OvenbirdError):
            status = await asyncio.to_thread(self.api.get, "/v1/status")
        hosts = self.lab.spec.cluster().hosts
        return resolve(target, hosts, status, active_gateway=self.active_gateway, random=self.random, it=it)

    async def _inject(self, step: Inject, it: str) -> None:
        nodes = await self._targets(step.target, it)
        params = dict(step.params)
        for key in [key for key in params if key.endswith(OF_TARGET)]:
            params[key.removesuffix(OF_TARGET)] = await self._targets(str(params.pop(key)), it)
        fault = make_fault(self.lab, step.kind, nodes, **params)
        what = fault.describe()
        await asyncio.to_thread(fault.inject)
        at_ns = fault.injected_ns or time.time_ns()
        self.note(FAULT_INJECTED, ", ".join(nodes), f"{what}", at_ns)
        verified = True
        await asyncio.sleep(fault.looked_at_after_s)
        try:
            await asyncio.to_thread(fault.verify_injected)
            self.note(FAULT_VERIFIED, ", ".join(nodes), f"verified: {what}")
        except OvenbirdError as error:
            verified = False
            self.progress(f"{what}: {error.message}")
        window = Window(fault=what, targets=nodes, injected_ns=at_ns, healed_ns=None, verified=verified)
        self.windows.append(window)
        self.injected.append(fault)
        if fault.stays or step.kind == NOOP:
            self.active.append((fault, window))

    async def _heal(self) -> None:
        for fault, window in reversed(self.active):
            await asyncio.to_thread(fault.heal)
            at_ns = time.time_ns()
            place = self.windows.index(window)
            self.windows[place] = replace(window, healed_ns=at_ns)
            self.note(FAULT_HEALED, ", ".join(window.targets), f"healed: {window.fault}", at_ns)
        self.active.clear()

    def _moved(self) -> bool:
        fault_ns = min((window.injected_ns for window in self.windows), default=0)
        return any(event.at_ns > fault_ns for event in self._claims())

    def _claims(self) -> list[Event]:
        port = self.stage.gateway_port
        return [event for event in self.observers.events if event.kind == GATEWAY_CLAIMED and event.subject == port]
