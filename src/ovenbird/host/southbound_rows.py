"""One copy of the rows of SB that a gateway's agent follows, for all of its parts: one connection, one set of rows.

It asks for what is to be announced (`host/announcer.py`), who belongs to which group (`host/membership.py`), what
nobody claims (`host/unclaimed.py`) and what others do (`host/left_behind.py`), not for logical flows. While SB is away,
what was there at last stays. Must never write.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from ovenbird.model.cluster import Database
from ovenbird.ovsdb import Client, Replica

TABLES = {
    "Port_Binding": (
        *("logical_port", "type", "datapath", "nat_addresses", "options", "tag", "external_ids"),
        *("chassis", "mac"),
    ),
    "HA_Chassis_Group": ("name", "ha_chassis"),
    "HA_Chassis": ("chassis",),
    "Chassis": ("name",),
}
CLAIMED, PINNED = "chassisredirect", "l3gateway"
KINDS = ("patch", PINNED, "localnet", CLAIMED)
"""Types of the bindings that say what is to be announced, and where; and who carries a router."""
WHERE = {"Port_Binding": [("type", "==", kind) for kind in KINDS]}


class SouthboundRows:
    """The rows. `run` keeps them; `changes` tells of each change."""

    def __init__(self, sb: Sequence[str]) -> None:
        """`sb`: remotes of SB."""
        self._sb = tuple(sb)
        self._replica: Replica | None = None
        self._there = asyncio.Event()

    async def run(self) -> None:
        """Keep them until cancelled."""
        async with (
            Client(Database.SB.value, self._sb, leader_only=False) as client,
            Replica(client, TABLES, where=WHERE) as replica,
        ):
            self._replica = replica
            self._there.set()
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self._there.clear()

    def claimed_by_others(self, chassis: str) -> frozenset[str]:
        """Return the MAC addresses of routers' ports outside that another one claims; none while SB is away."""
        if self._replica is None or not self._replica.synced:
            return frozenset()
        names = {uuid: row["name"] for uuid, row in self._replica.table("Chassis").items()}
        return frozenset(
            str(next(iter(row["mac"]))).partition(" ")[0].lower()
            for row in self._replica.table("Port_Binding").values()
            if row["type"] in (CLAIMED, PINNED) and row["mac"] and names.get(row["chassis"], chassis) != chassis
        )

    def unclaimed(self) -> dict[str, str]:
        """Return the MAC addresses of routers' ports outside that nobody claims, by port; none while SB is away."""
        if self._replica is None or not self._replica.synced:
            return {}
        return {
            row["logical_port"]: str(next(iter(row["mac"]))).partition(" ")[0].lower()
            for row in self._replica.table("Port_Binding").values()
            if row["type"] == CLAIMED and not row["chassis"] and row["mac"]
        }

    async def changes(self, *tables: str) -> AsyncIterator[Replica]:
        """Yield the rows as they are now, then after each change of one of these tables."""
        while True:
            await self._there.wait()
            assert self._replica is not None
            first = True
            async for change in self._replica.changes():
                if first or any(row.table in tables for row in change.rows):
                    first = False
                    yield self._replica
