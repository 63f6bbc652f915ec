"""SB as the controller sees it: which chassis there are, how far each has come, and which carries which router.

Read from any member, so that losing the leader does not blind us. It must never write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

from ovenbird.controller.events import Events
from ovenbird.controller.supervisor import keep_running
from ovenbird.controller.waiting import Changing
from ovenbird.model.cluster import Cluster, Database
from ovenbird.ovsdb import Client, Replica, Row

TABLES: Mapping[str, tuple[str, ...]] = {
    "SB_Global": ("nb_cfg",),
    "Chassis": ("name", "hostname", "nb_cfg", "encaps", "external_ids", "other_config"),
    "Chassis_Private": ("name", "chassis", "nb_cfg", "nb_cfg_timestamp"),
    "Port_Binding": ("logical_port", "type", "chassis", "up"),
}
CARRIERS = ("chassisredirect", "l3gateway")
"""Types of the port bindings that say which chassis carries a router's leg (ovn-sb(5), Port_Binding): a distributed
gateway port's, a gateway router's."""


class SbWatch:
    """A hot copy of the few tables of SB that say what became of NB. An async context manager."""

    def __init__(self, cluster: Cluster, events: Events, *, remotes: Sequence[str] | None = None) -> None:
        self.client = Client(Database.SB.value, tuple(remotes or cluster.remotes(Database.SB)), leader_only=False)
        self._events = events
        self.replica = Replica(
            self.client, TABLES, where={"Port_Binding": tuple(("type", "==", each) for each in CARRIERS)}
        )
        self.changing = Changing()
        self._subscribers: list[Callable[[], None]] = []
        self._pump_task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> SbWatch:
        await self.client.__aenter__()
        await self.replica.__aenter__()
        self._pump_task = asyncio.create_task(keep_running("sb-pump", self._pump, self._events))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pump_task is not None:
            self._pump_task.cancel()
            await asyncio.gather(self._pump_task, return_exceptions=True)
        await self.replica.__aexit__(kind, error, trace)
        await self.client.__aexit__(kind, error, trace)

    @property
    def synced(self) -> bool:
        """Whether the copy is kept current just now."""
        return self.replica.synced

    def subscribe(self, subscriber: Callable[[], None]) -> None:
        """Have a function called after each change set. It must not block."""
        self._subscribers.append(subscriber)

    @property
    def nb_cfg(self) -> int | None:
        """What every chassis should confirm; None while not known."""
        rows = self.replica.table("SB_Global").values() if self.synced else ()
        return next((int(row["nb_cfg"]) for row in rows), None)

    def chassis(self) -> dict[str, Row]:
        """Return the Chassis rows by name."""
        return {row["name"]: row for row in self.replica.table("Chassis").values()}

    def chassis_private(self) -> dict[str, Row]:
        """Return the Chassis_Private rows by name."""
        return {row["name"]: row for row in self.replica.table("Chassis_Private").values()}

    def carriers(self) -> dict[str, str | None]:
        """Return, per port of a router's leg (`plan.legs.Leg.binding`), the chassis that carries it, or None."""
        chassis = self.replica.table("Chassis")
        found: dict[str, str | None] = {}
        for row in self.replica.table("Port_Binding").values():
            there = chassis.get(row["chassis"] or "")
            found[row["logical_port"]] = there["name"] if there is not None else None
        return found

    async def _pump(self) -> None:
        async for _ in self.replica.changes():
            for subscriber in self._subscribers:
                subscriber()
            self.changing.tell()
