"""Chassis that exist in the databases only, so that tests can say which is good and which carries a router."""

from __future__ import annotations

import json
import time
from typing import Any

from tests.controller_bench import Databases

from ovenbird.model.cluster import Database
from ovenbird.ovsdb import Client, Transaction
from ovenbird.plan.rows import row_uuid

GOOD: dict[str, Any] = {
    "controller": "connected",
    "bfd": [{"chassis": "h1", "state": "up"}],
    "daemons": {"ovs-vswitchd": {"pid": 1, "alive": True}, "ovn-controller": {"pid": 2, "alive": True}},
}


class Chassis:
    """Writes what northd, ovn-controller and agents would. `async with Chassis(dbs, "r1", ...) as chassis`."""

    def __init__(self, dbs: Databases, *bindings: str) -> None:
        self._bindings = bindings
        self._sb = Client("OVN_Southbound", dbs.remotes[Database.SB])
        self._store = Client("Ovenbird", dbs.remotes[Database.OVENBIRD])
        self._seen: set[str] = set()
        self._registered = 0

    async def __aenter__(self) -> Chassis:
        for client in (self._sb, self._store):
            await client.__aenter__()
            await client.wait_connected(timeout_s=10)
        txn = Transaction("as northd")
        txn.insert("SB_Global", {"nb_cfg": 1})
        for key, binding in enumerate(self._bindings, start=1):
            datapath = txn.insert("Datapath_Binding", {"tunnel_key": key})
            kind = "chassisredirect" if binding.startswith("cr-") else "l3gateway"
            row = {"logical_port": binding, "type": kind, "datapath": datapath, "tunnel_key": 1}
            txn.insert("Port_Binding", row, uuid=row_uuid("Port_Binding", binding))
        await self._sb.transact(txn, timeout_s=5)
        return self

    async def __aexit__(self, *error: object) -> None:
        for client in (self._store, self._sb):
            await client.__aexit__(None, None, None)

    async def register(self, *names: str) -> None:
        """Let chassis exist and have confirmed everything."""
        txn = Transaction("as ovn-controller")
        for name in names:
            self._registered += 1
            encap_ip = f"192.0.2.{self._registered}"
            encap = txn.insert("Encap", {"type": "geneve", "ip": encap_ip, "chassis_name": name})
            uuid = row_uuid("Chassis", name)
            txn.insert("Chassis", {"name": name, "hostname": name, "encaps": frozenset((encap,))}, uuid=uuid)
            txn.insert("Chassis_Private", {"name": name, "chassis": uuid, "nb_cfg": 1})
        await self._sb.transact(txn, timeout_s=5)

    async def claim(self, binding: str, name: str | None) -> None:
        """Let a chassis carry a router."""
        txn = Transaction("as ovn-controller")
        chassis = None if name is None else row_uuid("Chassis", name)
        txn.update("Port_Binding", {"chassis": chassis}, uuid=row_uuid("Port_Binding", binding))
        await self._sb.transact(txn, timeout_s=5)

    async def confirm(self, name: str, nb_cfg: int) -> None:
        """Let a chassis have done what NB asked for up to a number."""
        txn = Transaction("as ovn-controller")
        txn.update("Chassis_Private", {"nb_cfg": nb_cfg}, where=[("name", "==", name)])
        await self._sb.transact(txn, timeout_s=5)

    async def refer(self, group: str, *names: str) -> None:
        """Let these have workloads that send through a group's gateways."""
        txn = Transaction("as northd")
        refs = frozenset(row_uuid("Chassis", name) for name in names)
        txn.insert("HA_Chassis_Group", {"name": group, "ref_chassis": refs})
        await self._sb.transact(txn, timeout_s=5)

    async def report(self, *names: str, **facts: Any) -> None:
        """Let agents say that all is well but for `facts`."""
        txn = Transaction("as an agent")
        for name in names:
            row = {"name": name, "heartbeat_s": int(time.time()), "facts": json.dumps({**GOOD, **facts})}
            if name in self._seen:
                txn.update("Node", row, uuid=row_uuid("Node", name))
            else:
                txn.insert("Node", row, uuid=row_uuid("Node", name))
            self._seen.add(name)
        await self._store.transact(txn, timeout_s=5)
