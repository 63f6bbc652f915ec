"""Reads what a workload's end needs to know of its declared Port and Network, from the Ovenbird database."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ovenbird.model.addresses import GENEVE_OVERHEAD_BYTES, PHYSICAL_MTU, gateway_of
from ovenbird.model.errors import Refused
from ovenbird.ovsdb import Client, Transaction
from ovenbird.plan.rows import row_uuid


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredPort:
    """A declared Port with what its Network adds."""

    mac: str
    address: str
    prefix_len: int
    gateway: str
    """"" when the network has no router."""
    mtu: int


async def read_port(client: Client, port: str, underlay_mtu: int) -> DeclaredPort:
    """Read one port. Raises `Refused` when it is not declared, `OvsdbError` when the database cannot be asked."""
    declared = await _read(client, "Port", port)
    if declared is None or not declared["assigned"].get("mac"):
        raise Refused(f"Port/{port} is not declared", code="unknown_port", subject=port, hint="apply it first")
    name = declared["spec"]["network"]
    network = await _read(client, "Network", name)
    external = network is None
    if network is None:
        # A workload on a provider network: address and gateway are the physical network's own affair.
        network = await _read(client, "ExternalNetwork", name)
    if network is None:
        raise Refused(f"Network/{name} of Port/{port} is not declared", code="unknown_network", subject=port)
    spec = network["spec"]
    gateway = spec.get("gateway") or "" if external else gateway_of(spec["cidr"], spec.get("gateway"))
    return DeclaredPort(
        mac=declared["assigned"]["mac"],
        address=declared["assigned"].get("address", ""),
        prefix_len=int(spec["cidr"].partition("/")[2]),
        gateway=gateway if external or spec.get("router") else "",
        mtu=spec.get("mtu") or await _default_mtu(client, {} if external else spec, underlay_mtu),
    )


async def _default_mtu(client: Client, network: dict[str, Any], underlay_mtu: int) -> int:
    """Return what fits the way of a network's packets: as `plan.compile_context.network_mtu` has DHCP tell it."""
    if network.get("vlan") is not None:
        router = await _read(client, "Router", network["router"]) if network.get("router") else None
        if router is None or router["spec"].get("gateways", {}).get("redirect") == "bridged":
            return PHYSICAL_MTU
    return underlay_mtu - GENEVE_OVERHEAD_BYTES


async def _read(client: Client, kind: str, name: str) -> dict[str, Any] | None:
    txn = Transaction()
    txn.select("Object", where=[("_uuid", "==", row_uuid("Object", f"{kind}/{name}"))], columns=["spec", "assigned"])
    result = await client.transact(txn, timeout_s=5)
    rows = result.rows(0)
    if not rows:
        return None
    return {"spec": json.loads(rows[0]["spec"]), "assigned": json.loads(rows[0]["assigned"] or "{}")}
