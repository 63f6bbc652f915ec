"""SB as the controller sees it: which chassis there are, how far each has come, and which carries which router.

Read from any member, so that losing the leader does not blind us. It must never write.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ovenbird.controller.events import Events
from ovenbird.controller.waiting import Changing
from ovenbird.controller.watch import Watch
from ovenbird.model.cluster import Cluster, Database
from ovenbird.ovsdb import Client, Replica, Row

TABLES: Mapping[str, tuple[str, ...]] = {
    "SB_Global": ("nb_cfg",),
    "Chassis": ("name", "hostname", "nb_cfg", "encaps", "external_ids", "other_config"),
    "Chassis_Private": ("name", "chassis", "nb_cfg", "nb_cfg_timestamp"),
    "Port_Binding": ("logical_port", "type", "chassis", "up"),
    "HA_Chassis_Group": ("name", "ref_chassis"),
}
CARRIERS = ("chassisredirect", "l3gateway")
"""Types of the port bindings that say which chassis carries a router's leg (ovn-sb(5), Port_Binding): a distributed
gateway port's, a gateway router's."""


class SbWatch(Watch[[]]):
    """A hot copy of the few tables of SB that say what became of NB. An async context manager."""

    def __init__(self, cluster: Cluster, events: Events, *, remotes: Sequence[str] | None = None) -> None:
        self.client = Client(Database.SB.value, tuple(remotes or cluster.remotes(Database.SB)), leader_only=False)
        where = {"Port_Binding": tuple(("type", "==", each) for each in CARRIERS)}
        super().__init__("sb-pump", Replica(self.client, TABLES, where=where), events, owned=self.client)
        self.changing = Changing()

    @property
    def synced(self) -> bool:
        """Whether the copy is kept current just now."""
        return self.replica.synced

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

    def senders(self, groups: Collection[str]) -> frozenset[str]:
        """Return the chassis whose workloads may send through the gateways of these groups (ovn-sb(5), ref_chassis)."""
        chassis = self.replica.table("Chassis")
        refs = {
            ref
            for row in self.replica.table("HA_Chassis_Group").values()
            if row["name"] in groups
            for ref in row["ref_chassis"]
        }
        return frozenset(chassis[ref]["name"] for ref in refs if ref in chassis)

    def confirmed(self, chassis: Collection[str], nb_cfg: int) -> bool:
        """Whether all these have done what NB asked for up to a number: their flows are in force."""
        private = self.chassis_private()
        return all(name in private and private[name]["nb_cfg"] >= nb_cfg for name in chassis)

    async def _pump(self) -> None:
        async for _ in self.replica.changes():
            self._tell()
            self.changing.tell()
