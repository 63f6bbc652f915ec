"""Sees to it that this gateway's ovn-controller lets go of routers whose group it no longer belongs to.

ovn-controller 23.03 decides anew who carries a router when BFD changes, not always when the members of a group do: one
that was taken out of a group may go on answering for the router. Told to compute everything anew it lets go. Must never
do so for anything but a change of this host's own memberships: it costs a great ovn-controller seconds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from ovenbird.host.chassis import Chassis
from ovenbird.host.pausing import RECOMPUTE
from ovenbird.host.southbound_rows import SouthboundRows
from ovenbird.model.cluster import Host
from ovenbird.ovsdb import OvsdbError, Row
from ovenbird.process import daemon

RECOMPUTED = "membership.recomputed"
TABLES = ("HA_Chassis_Group", "HA_Chassis", "Chassis")
AFTER_S = (0.1, 0.5, 2.0)
"""When it is told, after a change: ovn-controller hears of that by a connection of its own, which may be slower."""

_log = logging.getLogger(__name__)


class Membership:
    """Watches the groups that one gateway belongs to."""

    def __init__(self, host: Host, chassis: Chassis, rows: SouthboundRows) -> None:
        self._name = host.name
        self._chassis = chassis
        self._rows = rows
        self._left = asyncio.Event()

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            group.create_task(self._recompute())

    async def _watch(self) -> None:
        groups: frozenset[str] = frozenset()
        async for replica in self._rows.changes(*TABLES):
            now = memberships(self._name, {table: replica.table(table) for table in TABLES})
            if groups - now:
                self._left.set()
            groups = now

    async def _recompute(self) -> None:
        while True:
            await self._left.wait()
            self._left.clear()
            for wait_s in AFTER_S:
                await asyncio.sleep(wait_s)
                try:
                    await daemon.ask(self._chassis.controller_spec, RECOMPUTE)
                except (OvsdbError, OSError) as error:
                    _log.info(RECOMPUTED, extra={"error": str(error)})
                else:
                    _log.info(RECOMPUTED)


def memberships(chassis: str, tables: Mapping[str, Mapping[str, Row]]) -> frozenset[str]:
    """Return the names of the groups that a chassis belongs to, of the rows of SB by table and UUID."""
    ours = {uuid for uuid, row in tables["Chassis"].items() if row["name"] == chassis}
    members = {uuid for uuid, row in tables["HA_Chassis"].items() if row["chassis"] in ours}
    return frozenset(row["name"] for row in tables["HA_Chassis_Group"].values() if members & set(row["ha_chassis"]))
