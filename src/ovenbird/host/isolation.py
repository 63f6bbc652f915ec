"""Silences a gateway host that is cut off while its ovn-controller cannot take its routers away from it.

What leaves the routers for a provider network is dropped on that network's bridge, by a flow that ends by itself if
this agent does. Nothing else of the host is touched. Whether to do so is decided in `ovenbird.plan.isolation`.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time

from ovenbird.host.chassis import Chassis
from ovenbird.host.southbound import Southbound
from ovenbird.model.cluster import Host
from ovenbird.model.errors import OvenbirdError
from ovenbird.model.layout import Layout
from ovenbird.ovsdb import OvsdbError
from ovenbird.plan.isolation import Isolation, judge
from ovenbird.plan.switch import provider_bridge
from ovenbird.process import daemon
from ovenbird.process.command import run

SILENCED = "isolation.silenced"
RELEASED = "isolation.released"
NOT_SILENCED = "isolation.not_silenced"
LOOK_S = 0.5
ANSWER_S = 0.5
LASTS_S = 5
"""The flow is renewed with every look, and goes so long after the last one."""
COOKIE = "0x6f766973"
_PATCH = re.compile(r"^\s*(\d+)\(patch-.*?\):", re.MULTILINE)

_log = logging.getLogger(__name__)


class Isolated:
    """Watches one gateway host for it."""

    def __init__(self, host: Host, chassis: Chassis, southbound: Southbound, layout: Layout) -> None:
        self._bridges = [f"unix:{layout.ovs_run / provider_bridge(physnet)}.mgmt" for physnet in sorted(host.uplinks)]
        self._chassis = chassis
        self._southbound = southbound
        self._known = Isolation()

    async def run(self) -> None:
        """Watch until cancelled."""
        await self._chassis.settled.wait()
        while True:
            sessions = self._sessions()
            # ovn-controller is asked only when it matters.
            works = await self._works() if sessions and not any(sessions) else None
            before, self._known = self._known, judge(sessions, works, self._known, time.monotonic())
            try:
                if self._known.silent:
                    await self._silence()
                elif before.silent:
                    await self._release()
            except OvenbirdError as error:
                _log.error(NOT_SILENCED, extra={"error": str(error)})
            if self._known.silent != before.silent:
                _log.warning(SILENCED if self._known.silent else RELEASED)
            await asyncio.sleep(LOOK_S)

    def _sessions(self) -> list[bool | None]:
        replica = self._chassis.replica
        if replica is None or not replica.synced:
            return []
        told = [row["bfd_status"].get("state") for row in replica.table("Interface").values() if row["bfd_status"]]
        return [{"up": True, "down": False, "init": False}.get(str(state)) for state in told]

    async def _works(self) -> bool:
        """Whether ovn-controller answers and has a SB to work with.

        It takes a member that fell silent for a live one for ten seconds, and does nothing while a commit hangs there.
        """
        if not self._southbound.is_alive:
            return False
        try:
            status = await daemon.ask(self._chassis.controller_spec, "connection-status", timeout_s=ANSWER_S)
        except (OvsdbError, OSError):
            return False
        return status.strip() == "connected"

    async def _silence(self) -> None:
        for bridge in self._bridges:
            for port in _PATCH.findall(await run("ovs-ofctl", "show", bridge, timeout_s=5)):
                match = f"cookie={COOKIE},priority=65000,hard_timeout={LASTS_S},in_port={port}"
                await run("ovs-ofctl", "add-flow", bridge, f"{match},actions=drop", timeout_s=5)

    async def _release(self) -> None:
        for bridge in self._bridges:
            await run("ovs-ofctl", "del-flows", bridge, f"cookie={COOKIE}/-1", timeout_s=5)
