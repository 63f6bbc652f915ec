"""Open vSwitch's own database: a live view of it, and the execution of `plan.switch`'s steps as one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ovenbird.ovsdb import Replica, Row, Transaction
from ovenbird.plan.switch import (
    MARK,
    AddBridge,
    AddPort,
    BridgeView,
    PortView,
    RemovePort,
    SetBridge,
    SetInterface,
    SetKeys,
    SwitchStep,
    SwitchView,
    WantedBridge,
    WantedPort,
)

DATABASE = "Open_vSwitch"
TABLES: Mapping[str, tuple[str, ...]] = {
    "Open_vSwitch": ("bridges", "external_ids", "other_config", "cur_cfg", "next_cfg", "ovs_version"),
    "Bridge": ("name", "ports", "datapath_type", "fail_mode", "other_config"),
    "Port": ("name", "interfaces", "external_ids"),
    "Interface": ("name", "external_ids", "bfd_status", "error", "mac_in_use", "ofport"),
}
"""What is read; Interface.statistics is left out, as it changes all the time."""


def root_row(replica: Replica) -> Row | None:
    """Return the one row of Open_vSwitch; None while the database is new."""
    return next(iter(replica.table("Open_vSwitch").values()), None)


def view_of(replica: Replica) -> SwitchView:
    """Return what Open vSwitch holds."""
    root = root_row(replica)
    if root is None:
        return SwitchView(uuid="", external_ids={}, bridges={})
    bridges = replica.table("Bridge")
    return SwitchView(
        uuid=root.uuid,
        external_ids=root["external_ids"],
        bridges={
            bridge["name"]: BridgeView(
                uuid=bridge.uuid,
                datapath_type=bridge["datapath_type"],
                secure=bridge["fail_mode"] == "secure",
                mac=bridge["other_config"].get("hwaddr", ""),
                ports=_ports(replica, bridge),
            )
            for bridge in (bridges[uuid] for uuid in root["bridges"] if uuid in bridges)
        },
    )


def _ports(replica: Replica, bridge: Row) -> dict[str, PortView]:
    ports, interfaces = replica.table("Port"), replica.table("Interface")
    views: dict[str, PortView] = {}
    for port in (ports[uuid] for uuid in bridge["ports"] if uuid in ports):
        interface = next((interfaces[uuid] for uuid in _set(port["interfaces"]) if uuid in interfaces), None)
        views[port["name"]] = PortView(
            uuid=port.uuid,
            mark=port["external_ids"].get(MARK, ""),
            interface_uuid=interface.uuid if interface else "",
            interface_ids=interface["external_ids"] if interface else {},
        )
    return views


def _set(value: Any) -> frozenset[str]:
    return frozenset({value}) if isinstance(value, str) else frozenset(value or ())


def is_settled(replica: Replica) -> bool:
    """Whether ovs-vswitchd carried out everything that was asked of it (ovs-vswitchd.conf.db(5), `cur_cfg`)."""
    root = root_row(replica)
    return root is not None and int(root["cur_cfg"]) >= int(root["next_cfg"])


def transaction_of(steps: tuple[SwitchStep, ...], view: SwitchView) -> Transaction:
    """Return one transaction that carries out the steps and asks ovs-vswitchd to follow (`next_cfg`)."""
    txn = Transaction("ovenbird agent")
    root = view.uuid
    keys = next((step for step in steps if isinstance(step, SetKeys)), None)
    added = frozenset(_insert_bridge(txn, step.bridge) for step in steps if isinstance(step, AddBridge))
    if not root:
        txn.insert("Open_vSwitch", {"external_ids": dict(keys.set) if keys else {}, "bridges": added, "next_cfg": 1})
        return txn
    if keys is not None:
        old = {key: view.external_ids[key] for key in keys.set if key in view.external_ids}
        old |= {key: view.external_ids[key] for key in keys.remove}
        if old:
            txn.mutate("Open_vSwitch", "external_ids", "delete", old, uuid=root)
        if keys.set:
            txn.mutate("Open_vSwitch", "external_ids", "insert", dict(keys.set), uuid=root)
    if added:
        txn.mutate("Open_vSwitch", "bridges", "insert", added, uuid=root)
    for step in steps:
        _do(txn, step, view)
    txn.mutate("Open_vSwitch", "next_cfg", "+=", 1, uuid=root)
    return txn


def _do(txn: Transaction, step: SwitchStep, view: SwitchView) -> None:
    match step:
        case SetBridge(uuid, bridge):
            txn.update("Bridge", _bridge_columns(bridge), uuid=uuid)
        case AddPort(bridge_uuid, port):
            txn.mutate("Bridge", "ports", "insert", frozenset({_insert_port(txn, port)}), uuid=bridge_uuid)
        case SetInterface(interface_uuid, keys):
            present = _interface_ids(view, interface_uuid)
            old = {key: present[key] for key in keys if key in present}
            if old:
                txn.mutate("Interface", "external_ids", "delete", old, uuid=interface_uuid)
            txn.mutate("Interface", "external_ids", "insert", dict(keys), uuid=interface_uuid)
        case RemovePort(bridge_uuid, port_uuid, _):
            txn.mutate("Bridge", "ports", "delete", frozenset({port_uuid}), uuid=bridge_uuid)
        case SetKeys() | AddBridge():
            pass


def _interface_ids(view: SwitchView, uuid: str) -> Mapping[str, str]:
    ports = (port for bridge in view.bridges.values() for port in bridge.ports.values())
    return next((port.interface_ids for port in ports if port.interface_uuid == uuid), {})


def _bridge_columns(bridge: WantedBridge) -> dict[str, Any]:
    other = {"hwaddr": bridge.mac} if bridge.mac else {}
    if bridge.secure:
        other["disable-in-band"] = "true"
    return {
        "datapath_type": bridge.datapath_type,
        "fail_mode": "secure" if bridge.secure else None,
        "other_config": other,
    }


def _insert_bridge(txn: Transaction, bridge: WantedBridge) -> str:
    interface = txn.insert("Interface", {"name": bridge.name, "type": "internal"})
    own = txn.insert("Port", {"name": bridge.name, "interfaces": frozenset({interface})})
    ports = frozenset({own, *(_insert_port(txn, port) for port in bridge.ports)})
    return txn.insert("Bridge", {"name": bridge.name, "ports": ports, **_bridge_columns(bridge)})


def _insert_port(txn: Transaction, port: WantedPort) -> str:
    interface = txn.insert("Interface", {"name": port.name, "external_ids": dict(port.interface_ids)})
    columns = {"name": port.name, "interfaces": frozenset({interface}), "external_ids": {MARK: port.mark}}
    return txn.insert("Port", columns)
