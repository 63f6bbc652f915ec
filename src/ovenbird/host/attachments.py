"""Carries out the `Attachment` rows of this host: makes workload ends, keeps them, undoes them, and says how it went.

The rows are what is wanted; what was made is told by the record on disk and by the marks in Open vSwitch. A row that
goes away has exactly its own things undone. While the database cannot be asked, nothing is undone: not knowing is no
reason to unplug anybody.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ovenbird.host import workload as ends
from ovenbird.host.chassis import Chassis
from ovenbird.host.declared_port import read_port
from ovenbird.host.link import give_back, give_to_userspace
from ovenbird.host.switch import view_of
from ovenbird.host.workload import Record, Workload
from ovenbird.model.cluster import Cluster
from ovenbird.model.errors import OvenbirdError, Refused
from ovenbird.model.layout import Layout
from ovenbird.ovsdb import Client, OvsdbError, Replica, Row, Transaction
from ovenbird.plan.switch import INTEGRATION_BRIDGE, Datapath

ATTACHED = "attachment.attached"
DETACHED = "attachment.detached"
ATTACH_FAILED = "attachment.failed"

RETRY_S = 1.0
CHECK_S = 5.0
"""How often it is checked that what was made is still there."""

SWITCH_S, LOOK_S = 3.0, 0.02
NOT_IN_SWITCH = "Open vSwitch does not have its port yet"

_log = logging.getLogger(__name__)


class Attachments:
    """The attachments of one host."""

    def __init__(self, cluster: Cluster, node: str, chassis: Chassis, client: Client, layout: Layout) -> None:
        self._cluster = cluster
        self._node = node
        self._chassis = chassis
        self._client = client
        self._path = layout.state_dir / "attachments.json"
        self._record = Record(self._path)
        self._script = Path(layout.root, "run/ovenbird/udhcpc.sh")
        self._tasks: dict[str, tuple[str, asyncio.Task[None]]] = {}
        """port -> (spec, the task that makes and keeps it)"""

    async def run(self) -> None:
        """Follow the rows until cancelled."""
        await self._chassis.settled.wait()
        self._record = Record.load(self._path)
        where = {"Attachment": [("node", "==", self._node)]}
        columns = {"Attachment": ("port", "node", "spec", "status")}
        try:
            async with Replica(self._client, columns, where=where) as replica:
                async for _ in replica.changes():
                    session = await self._client.session_after(None)
                    self._record.belong_to(session.server.cid or "")
                    await self._follow(dict(replica.table("Attachment")))
        finally:
            for _, task in self._tasks.values():
                task.cancel()
            self._tasks.clear()

    async def _follow(self, rows: Mapping[str, Row]) -> None:
        wanted = {row["port"]: row for row in rows.values() if row["node"] == self._node}
        for port in [port for port in self._known_ports() if port not in wanted]:
            await self._undo(port)
        for port, row in wanted.items():
            spec, task = self._tasks.get(port, ("", None))
            if task is None or spec != row["spec"]:
                if task is not None:
                    await self._undo(port)
                self._tasks[port] = (row["spec"], asyncio.create_task(self._keep(row), name=f"attachment {port}"))

    def _known_ports(self) -> set[str]:
        """Ports that we made something for, now or in an earlier life."""
        known = set(self._tasks) | set(self._record.made)
        if self._chassis.replica is not None:
            bridge = view_of(self._chassis.replica).bridges.get(INTEGRATION_BRIDGE)
            marks = [port.mark for port in bridge.ports.values()] if bridge else []
            known |= {mark.partition(":")[2] for mark in marks if mark.startswith("attachment:")}
        return known

    async def _keep(self, row: Row) -> None:
        """Make one attachment, say so, and make it again whenever it is found broken."""
        port, said = str(row["port"]), json.loads(row["status"] or "{}")
        while True:
            try:
                status = await self._attach(port, json.loads(row["spec"]))
            except (OvenbirdError, OvsdbError, OSError, ValueError) as error:
                status = {"state": "failed", "address": "", "detail": str(error)}
            try:
                if status != said:
                    await self._say(row, status)
                    said = status
            except OvsdbError:
                await asyncio.sleep(RETRY_S)
                continue
            await asyncio.sleep(CHECK_S if status["state"] == "attached" else RETRY_S)

    async def _attach(self, port: str, spec: Mapping[str, Any]) -> dict[str, str]:
        """Bring one attachment about and return its status; quick when all is in place."""
        declared = await read_port(self._client, port, self._cluster.underlay_mtu)
        kind, dhcp = str(spec.get("type", "")), spec.get("address", "dhcp") == "dhcp"
        if kind not in ("namespace", "interface"):
            raise Refused(f"unknown type of attachment {kind!r}", code="unknown_attachment_type", subject=port)
        workload = Workload(
            port=port,
            type=kind,
            interface=ends.host_end(port) if kind == "namespace" else str(spec.get("interface", "")),
            mac=declared.mac,
            dhcp=dhcp,
            address=f"{declared.address}/{declared.prefix_len}",
            gateway=declared.gateway,
            mtu=declared.mtu,
        )
        if kind == "interface":
            self._check_interface(workload)
            self._record.add(workload)
            if self._chassis.datapath is Datapath.NETDEV:
                await give_to_userspace(workload.interface)
            if not await self._in_switch(workload):
                return _pending(f"interface {workload.interface}: {NOT_IN_SWITCH}")
            return {"state": "attached", "address": declared.address, "detail": workload.interface}
        return await self._attach_namespace(workload)

    async def _attach_namespace(self, workload: Workload) -> dict[str, str]:
        ours = workload.port in self._record.made
        if not ends.is_made(workload):
            if ours or not (ends.NAMESPACES / workload.port).exists():
                self._record.add(workload)
            await ends.make_namespace(workload, ours=ours)
            if self._chassis.datapath is Datapath.NETDEV:
                await give_to_userspace(workload.interface)
        detail = f"namespace {workload.port}"
        if not await self._in_switch(workload):
            return _pending(f"{detail}: {NOT_IN_SWITCH}")
        address = await ends.address_inside(workload.port) or await ends.give_address(workload, self._script)
        if not address:
            return _pending(f"{detail}: no DHCP answer yet")
        return {"state": "attached", "address": address, "detail": detail}

    async def _in_switch(self, workload: Workload) -> bool:
        """Want the workload's port and wait a little until Open vSwitch has it: before that nothing is attached."""
        port, deadline_s = workload.switch_port(), time.monotonic() + SWITCH_S
        self._chassis.attach(port)
        while not (there := self._chassis.has(port)) and time.monotonic() < deadline_s:
            await asyncio.sleep(LOOK_S)
        return there

    def _check_interface(self, workload: Workload) -> None:
        name = workload.interface
        if not name or not ends.interface_exists(name):
            raise Refused(f"there is no interface {name!r} on {self._node}", code="no_interface", subject=workload.port)
        used = next((port for port, made in self._record.made.items() if made["interface"] == name), workload.port)
        if used != workload.port:
            raise Refused(f"interface {name} is attached to port {used}", code="interface_taken", subject=workload.port)
        if self._chassis.replica is None:
            return
        for bridge_name, bridge in view_of(self._chassis.replica).bridges.items():
            there = bridge.ports.get(name)
            if name == bridge_name or (there is not None and there.mark != workload.mark):
                raise Refused(
                    f"interface {name} is in use by bridge {bridge_name}", code="interface_taken", subject=workload.port
                )

    async def _undo(self, port: str) -> None:
        _, task = self._tasks.pop(port, ("", None))
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        made = self._record.made.get(port)
        self._chassis.detach(ends.mark_of(port))
        if made and made["type"] == "namespace":
            await ends.undo_namespace(port, made["interface"])
        elif made:
            await give_back(made["interface"])
        self._record.remove(port)
        _log.info(DETACHED, extra={"port": port})

    async def _say(self, row: Row, status: Mapping[str, str]) -> None:
        txn = Transaction("ovenbird agent: attachment")
        txn.update("Attachment", {"status": json.dumps(status, sort_keys=True)}, uuid=row.uuid)
        await self._client.transact(txn, timeout_s=5)
        level = logging.WARNING if status["state"] == "failed" else logging.INFO
        event = ATTACH_FAILED if status["state"] == "failed" else ATTACHED
        if status["state"] != "pending":
            _log.log(level, event, extra={"port": row["port"], **status})


def _pending(detail: str) -> dict[str, str]:
    """Return the status of an attachment that is still being made."""
    return {"state": "pending", "address": "", "detail": detail}
