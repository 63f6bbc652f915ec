"""Compile: the NB rows that should exist for one declared object, whatever is in NB now.

    ExternalNetwork  Logical_Switch, localnet port; while gateways are apart: HA_Chassis_Group, HA_Chassis, watch port
    Network          Logical_Switch, DHCP_Options; on its router: router port, peer port, SNAT
    Router           Logical_Router, static routes, Load_Balancer_Group; its external leg: HA_Chassis_Group, HA_Chassis,
                     router port, peer port, default route; or the gateway routers in its place
    Port             Logical_Switch_Port
    FloatingIP       NAT
    LoadBalancer     Load_Balancer

A row belongs to the object whose change most often changes it, so that few objects are compiled again after a change
(`ovenbird.plan.dirty` says which). Compile never looks at NB and never fails: an object whose references are missing
has only the rows that can be made without them; refusing such objects is admission's work.
"""

from __future__ import annotations

from ovenbird.model.objects import Declared, ExternalNetwork, FloatingIP, Key, LoadBalancer, Network, Port, Router
from ovenbird.plan import compile_names as names
from ovenbird.plan.addressing6 import port_address6
from ovenbird.plan.compile_context import CompileContext
from ovenbird.plan.compile_further import own_leg_policy
from ovenbird.plan.compile_load_balancer import load_balancer_rows
from ovenbird.plan.compile_network import external_network_rows, network_rows, tells_by_dhcpv6
from ovenbird.plan.compile_pinning import floating_ip_pin, target_address
from ovenbird.plan.compile_router import router_rows
from ovenbird.plan.compile_watch import watch_rows
from ovenbird.plan.inventory import InventoryView
from ovenbird.plan.legs import inward_leg
from ovenbird.plan.reach import router_between
from ovenbird.plan.rows import OWNER, NbRow, Parent, row_uuid

__all__ = ["CompileContext", "compile_object"]


def compile_object(key: Key, inventory: InventoryView, context: CompileContext) -> tuple[NbRow, ...]:
    """Return the rows of an object, parents first; none when it is not declared."""
    declared = inventory.get(key)
    if declared is None:
        return ()
    match declared.spec:
        case Port() as spec:
            return _port_rows(declared, spec, inventory)
        case Network() as spec:
            return network_rows(declared, spec, inventory, context)
        case Router() as spec:
            return router_rows(declared, spec, inventory, context)
        case FloatingIP() as spec:
            return _floating_ip_rows(declared, spec, inventory)
        case LoadBalancer() as spec:
            return load_balancer_rows(declared, spec, inventory)
        case ExternalNetwork() as spec:
            return external_network_rows(declared, spec) + watch_rows(declared, spec, context)
    return ()


def _port_rows(declared: Declared, spec: Port, inventory: InventoryView) -> tuple[NbRow, ...]:
    network = inventory.spec(Network, spec.network)
    address, mac = declared.assigned.address, declared.assigned.mac
    if network is None or not address or not mac:
        return ()
    address6 = port_address6(declared, network)
    addresses = frozenset((f"{mac} {address} {address6}" if address6 else f"{mac} {address}",))
    return (
        NbRow(
            "Logical_Switch_Port",
            row_uuid("Logical_Switch_Port", declared.name),
            {
                "name": declared.name,
                "type": "",
                "addresses": addresses,
                "port_security": addresses if spec.port_security else frozenset(),
                "dhcpv4_options": names.dhcp_options(spec.network) if network.dhcp else None,
                **({"dhcpv6_options": _dhcpv6(spec.network, network)} if network.cidr6 else {}),
                "external_ids": {OWNER: f"Port/{declared.name}"},
            },
            declared.key,
            Parent("Logical_Switch", names.network_switch(spec.network), "ports"),
        ),
    )


def _dhcpv6(name: str, network: Network) -> str | None:
    return names.dhcpv6_options(name) if tells_by_dhcpv6(network) else None


def _floating_ip_rows(declared: Declared, spec: FloatingIP, inventory: InventoryView) -> tuple[NbRow, ...]:
    port = inventory.get(Key("Port", spec.port))
    name = router_between(spec.network, spec.port, inventory)
    router = inventory.get(Key("Router", name)) if name else None
    if router is None or port is None or not port.assigned.address or not declared.assigned.address:
        return ()
    leg = inward_leg(router, spec.port)
    where = names.gateway_router(leg.name) if leg and leg.pinned else names.logical_router(router.name)
    # northd translates on the workload's chassis only when both are set (ovn-nb(5), NAT.external_mac).
    distributed = spec.distributed and bool(declared.assigned.mac)
    translations = [(f"FloatingIP/{declared.name}", declared.assigned.address, port.assigned.address)]
    inside6 = target_address(port, inventory, ipv6=True)
    if spec.address6 and inside6:
        translations.append((f"FloatingIP/{declared.name} IPv6", spec.address6, inside6))
    rows = [
        NbRow(
            "NAT",
            row_uuid("NAT", identity),
            {
                "type": "dnat_and_snat",
                "external_ip": outside,
                "logical_ip": inside,
                "external_mac": declared.assigned.mac if distributed else None,
                "logical_port": spec.port if distributed else None,
                "options": {"stateless": "true"} if spec.stateless else {},
                "external_ids": {OWNER: str(declared.key)},
            },
            declared.key,
            Parent("Logical_Router", where, "nat"),
        )
        for identity, outside, inside in translations
    ]
    rows += floating_ip_pin(declared, router, spec.port, (inside for _, _, inside in translations))
    rows += own_leg_policy(declared, spec, router, port.assigned.address, inventory)
    return tuple(rows)
