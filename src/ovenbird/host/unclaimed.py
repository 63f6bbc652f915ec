"""Sees to it that SB knows who carries a router: this gateway does by its flows, and SB says that nobody does.

A gateway that loses sight of one peer after the other claims for a moment what those carry, and lets go of it again;
ovn-controller 23.03 of the one that carries it all the time does not always claim it anew. Packets flow, but whoever
asks SB does not know where, so nothing is ever moved or followed. Told to compute everything anew, it claims.
Must never do so for what another gateway claims: two that don't see each other would do nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import time

from ovenbird.host.announcer import Announcer
from ovenbird.host.chassis import Chassis
from ovenbird.host.pausing import RECOMPUTE
from ovenbird.host.southbound_rows import SouthboundRows
from ovenbird.ovsdb import OvsdbError
from ovenbird.process import daemon

CLAIMED_ANEW = "unclaimed.recomputed"
LOOK_S = 0.5
UNCLAIMED_S = 1.5
"""A claim that comes by itself has come by then: OVN holds claims off for half a second."""
PAUSE_S = 10.0
"""Between two attempts: each costs a great ovn-controller seconds."""

_log = logging.getLogger(__name__)


class Unclaimed:
    """Watches what one gateway carries."""

    def __init__(self, chassis: Chassis, rows: SouthboundRows, announcer: Announcer) -> None:
        """`announcer` knows what this host answers for, by the flows that there are."""
        self._chassis = chassis
        self._rows = rows
        self._announcer = announcer
        self._since_s: dict[str, float] = {}
        """Port that nobody claims and this host carries -> since when."""

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            now_s = time.monotonic()
            unclaimed = self._rows.unclaimed()
            carried = {one.mac for one in self._announcer.carried} if unclaimed else set()
            there = [port for port, mac in unclaimed.items() if mac in carried]
            self._since_s = {port: self._since_s.get(port, now_s) for port in there}
            if any(now_s - since_s >= UNCLAIMED_S for since_s in self._since_s.values()):
                await self._recompute(sorted(there))
                await asyncio.sleep(PAUSE_S)
                self._since_s.clear()
            await asyncio.sleep(LOOK_S)

    async def _recompute(self, ports: list[str]) -> None:
        fields = {"ports": len(ports), "first": ports[0]}
        try:
            await daemon.ask(self._chassis.controller_spec, RECOMPUTE)
        except (OvsdbError, OSError) as error:
            _log.info(CLAIMED_ANEW, extra={**fields, "error": str(error)})
        else:
            _log.info(CLAIMED_ANEW, extra=fields)
