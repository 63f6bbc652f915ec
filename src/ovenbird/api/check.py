"""Looks at how the cluster is built, for `ovenbird.plan.topology` to judge: the description, NB, SB, and agents' facts.

Foreign rows are read like ours: what others have made in NB can be as unsafe. This module must never judge, and never
take what could not be asked for absent.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from ovenbird.controller.node_facts import next_hop_macs
from ovenbird.controller.service import ControllerService
from ovenbird.ovsdb import Client, OvsdbError, Row, Transaction
from ovenbird.plan.health import HEARTBEAT_STALE_S
from ovenbird.plan.topology import ChassisSight, GatewayPort, SwitchSight, Topology, findings

READ_TIMEOUT_S = 3.0
MAPPINGS = "ovn-bridge-mappings"
Selects = tuple[tuple[str, tuple[tuple[str, str, Any], ...], tuple[str, ...]], ...]
"""Table, conditions, columns."""


async def checked(service: ControllerService) -> dict[str, Any]:
    """Return what `GET /v1/check` answers."""
    unknown: list[str] = []
    chassis: Mapping[str, ChassisSight] | None = None
    ports: tuple[GatewayPort, ...] | None = None
    switches: tuple[SwitchSight, ...] | None = None
    try:
        chassis = chassis_sights(*await _select(service.sb.client, SB_TABLES))
    except OvsdbError as error:
        unknown.append(f"SB: {error}")
    try:
        rows = await _select(service.nb.client, NB_TABLES)
        *of_ports, l2gateways = rows
        logical_switches, localnets = of_ports[5:7]
        ports = tuple(gateway_ports(*of_ports))
        switches = tuple(switch_sights(logical_switches, {**localnets, **l2gateways}))
    except OvsdbError as error:
        unknown.append(f"NB: {error}")
    topology = Topology(
        cluster=service.cluster,
        inventory=service.store.inventory,
        chassis=chassis,
        ports=ports,
        switches=switches,
        places={each.port: each.node for each in service.store.attachments()},
        next_hops=_next_hops(service),
    )
    found = [
        {
            "severity": one.severity.value,
            "rule": one.rule,
            "subject": one.subject,
            "message": one.message,
            "hint": one.hint,
        }
        for one in findings(topology)
    ]
    return {"cluster": service.cluster.name, "observer": service.node, "findings": found, "unknown": unknown}


SB_TABLES: Selects = (("Chassis", (), ("name", "other_config", "encaps")), ("Encap", (), ("type",)))
NB_TABLES: Selects = (
    ("Logical_Router", (), ("name", "options", "ports")),
    ("Logical_Router_Port", (), ("name", "options", "gateway_chassis", "ha_chassis_group")),
    ("Gateway_Chassis", (), ("chassis_name",)),
    ("HA_Chassis_Group", (), ("ha_chassis",)),
    ("HA_Chassis", (), ("chassis_name",)),
    ("Logical_Switch", (), ("name", "ports")),
    ("Logical_Switch_Port", (("type", "==", "localnet"),), ("options",)),
    ("Logical_Switch_Port", (("type", "==", "router"),), ("options",)),
    ("Logical_Switch_Port", (("type", "==", "l2gateway"),), ("options",)),
)


async def _select(client: Client, selects: Selects) -> list[dict[str, Row]]:
    """Return the rows of each select, by UUID."""
    txn = Transaction()
    for table, where, columns in selects:
        txn.select(table, where=where, columns=list(columns))
    result = await client.transact(txn, timeout_s=READ_TIMEOUT_S)
    return [{row.uuid: row for row in result.rows(at)} for at in range(len(selects))]


def chassis_sights(chassis: Mapping[str, Row], encaps: Mapping[str, Row]) -> dict[str, ChassisSight]:
    """Return the chassis of SB by name."""
    return {
        row["name"]: ChassisSight(
            name=row["name"],
            mappings=dict(
                pair.split(":", 1) for pair in row["other_config"].get(MAPPINGS, "").split(",") if ":" in pair
            ),
            encapsulations=frozenset(encaps[uuid]["type"] for uuid in row["encaps"] if uuid in encaps),
        )
        for row in chassis.values()
    }


def gateway_ports(
    routers: Mapping[str, Row],
    ports: Mapping[str, Row],
    gateway_chassis: Mapping[str, Row],
    groups: Mapping[str, Row],
    members: Mapping[str, Row],
    switches: Mapping[str, Row],
    localnets: Mapping[str, Row],
    peers: Mapping[str, Row],
) -> Iterator[GatewayPort]:
    """Yield the router ports of NB that somebody gave gateways, in whichever form."""
    reached = _physnets_by_router_port(switches, localnets, peers)
    for router in sorted(routers.values(), key=lambda row: str(row["name"])):
        for port in (ports[uuid] for uuid in sorted(router["ports"]) if uuid in ports):
            group = groups.get(port["ha_chassis_group"] or "")
            in_group = [members[uuid]["chassis_name"] for uuid in (group["ha_chassis"] if group else ())]
            by_itself = [gateway_chassis[uuid]["chassis_name"] for uuid in port["gateway_chassis"]]
            redirect = port["options"].get("redirect-chassis", "")
            if group or by_itself or redirect:
                yield GatewayPort(
                    name=port["name"],
                    router=router["name"],
                    listed=tuple(sorted(in_group or by_itself)),
                    physnets=reached.get(port["name"], frozenset()),
                    has_group=group is not None,
                    has_gateway_chassis=bool(by_itself),
                    redirect_chassis=redirect,
                    pinned_to=router["options"].get("chassis", ""),
                )


def switch_sights(switches: Mapping[str, Row], leading: Mapping[str, Row]) -> Iterator[SwitchSight]:
    """Yield the switches that lead to physical networks; `leading`: the localnet and l2gateway ports."""
    for switch in sorted(switches.values(), key=lambda row: str(row["name"])):
        physnets = [leading[uuid]["options"].get("network_name", "") for uuid in switch["ports"] if uuid in leading]
        if physnets:
            yield SwitchSight(name=switch["name"], physnets=tuple(sorted(physnets)))


def _physnets_by_router_port(
    switches: Mapping[str, Row], localnets: Mapping[str, Row], peers: Mapping[str, Row]
) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for switch in switches.values():
        physnets = frozenset(
            localnets[uuid]["options"].get("network_name", "") for uuid in switch["ports"] if uuid in localnets
        )
        for uuid in switch["ports"] if physnets else ():
            if uuid in peers:
                found[peers[uuid]["options"].get("router-port", "")] = physnets
    return found


def _next_hops(service: ControllerService) -> dict[str, dict[str, str]]:
    """Return where gateways that were heard lately see upstream routers: network -> gateway -> hardware address."""
    now_s, found = time.time(), dict[str, dict[str, str]]()
    for node in service.store.nodes():
        if now_s - node.heartbeat_s <= HEARTBEAT_STALE_S:
            for network, mac in next_hop_macs(node.facts).items():
                found.setdefault(network, {})[node.name] = mac
    return found
