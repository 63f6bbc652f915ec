"""Rows of a router: the Logical_Router, its static routes, its group of load balancers, and its external leg.

The leg is a distributed gateway port: a router port with an HA chassis group. `options:chassis` would turn the router
into a gateway router and make northd skip such a port with no more than a log line, so the whole `options` column is
ours. Without any gateway the leg is left out: a router port without a group would be claimed by every chassis at once.
"""

from __future__ import annotations

from ovenbird.model.addresses6 import PREFIX_LEN
from ovenbird.model.objects import Declared, ExternalNetwork, Router
from ovenbird.plan import compile_names as names
from ovenbird.plan.addressing6 import announced6, leg_address6
from ovenbird.plan.compile_context import CompileContext, external_gateway_mtu, is_bridged
from ovenbird.plan.compile_further import default_network
from ovenbird.plan.compile_gateway_router import ANYWHERE, ANYWHERE6, ON_SHARED_SWITCH, pinned_rows, watch_rows
from ovenbird.plan.inventory import InventoryView
from ovenbird.plan.legs import Leg, is_pinned, legs_of
from ovenbird.plan.rows import ANNOUNCED6, HOME, HOME_REQUEST, OWNER, PREEMPTS, VACANT, NbRow, Parent, row_uuid


def router_rows(
    declared: Declared, spec: Router, inventory: InventoryView, context: CompileContext
) -> tuple[NbRow, ...]:
    """Return the rows of a router, without those that its networks and floating IPs own."""
    balancers = names.load_balancer_group(declared.name)
    pinned = is_pinned(spec)
    rows = [
        NbRow("Load_Balancer_Group", balancers, {"name": declared.name}, declared.key),
        NbRow(
            "Logical_Router",
            names.logical_router(declared.name),
            {
                "name": declared.name,
                "options": ON_SHARED_SWITCH if spec.external and not pinned else {},
                "external_ids": {OWNER: str(declared.key)},
            },
            declared.key,
            members={"load_balancer_group": frozenset(() if pinned else (balancers,))},
        ),
    ]
    external = inventory.spec(ExternalNetwork, spec.external.network) if spec.external else None
    legs = [leg for leg in legs_of(declared) if leg.address and inventory.spec(ExternalNetwork, leg.network)]
    placed = [leg for leg in legs if context.placement.routers.get(leg.name)]
    for leg in placed:
        rows += _group_rows(declared, leg.name, context)
    if external and pinned:
        rows += pinned_rows(declared, spec, external, inventory, context)
        rows += watch_rows(declared, placed)
        return tuple(rows)
    declared_to = {route.to for route in spec.routes}
    for leg in placed:
        if leads_to := inventory.spec(ExternalNetwork, leg.network):
            rows += _external_leg_rows(declared, spec, leg, leads_to, inventory, context)
            # A declared default route takes the place of the implied one: two would be an ECMP pair.
            if leg.network == default_network(spec, inventory) and ANYWHERE not in declared_to:
                port = names.router_port(declared.name, leg.network)
                rows.append(_route_row(declared, "default", ANYWHERE, str(leads_to.gateway), port))
            if leg.network == default_network(spec, inventory, ipv6=True) and ANYWHERE6 not in declared_to:
                port = names.router_port(declared.name, leg.network)
                rows.append(_route_row(declared, "default IPv6", ANYWHERE6, str(leads_to.gateway6), port))
    rows += [_route_row(declared, f"{route.to} via {route.via}", route.to, route.via) for route in spec.routes]
    return tuple(rows)


def _group_rows(declared: Declared, leg: str, context: CompileContext) -> list[NbRow]:
    owner = {OWNER: str(declared.key)}
    group = names.gateway_group(leg)
    parent = Parent("HA_Chassis_Group", group, "ha_chassis")
    placement = context.placement
    gateways = placement.routers.get(leg, ())
    if leg in placement.vacant:
        gateways = (*gateways, (VACANT, 0))
    intent = {HOME: placement.home(leg)}
    if request := placement.requests.get(leg):
        intent[HOME_REQUEST] = str(request)
    return [
        NbRow("HA_Chassis_Group", group, {"name": leg, "external_ids": {**owner, **intent}}, declared.key),
        *(
            NbRow(
                "HA_Chassis",
                row_uuid("HA_Chassis", f"{leg}_{gateway}"),
                {"chassis_name": gateway, "priority": priority, "external_ids": owner},
                declared.key,
                parent,
            )
            for gateway, priority in gateways
        ),
    ]


def _external_leg_rows(
    declared: Declared,
    spec: Router,
    leg: Leg,
    external: ExternalNetwork,
    inventory: InventoryView,
    context: CompileContext,
) -> list[NbRow]:
    owner, network = {OWNER: str(declared.key)}, leg.network
    addresses = [f"{leg.address}/{external.cidr.partition('/')[2]}"]
    told = {PREEMPTS: "true"} if spec.gateways.failback == "preempt" else {}
    if address6 := leg_address6(leg, spec, external):
        addresses.append(f"{address6}/{PREFIX_LEN}")
        told[ANNOUNCED6] = announced6(declared, leg, address6, inventory)
    port, peer = names.router_port(declared.name, network), names.peer_port(network, declared.name)
    mtu = external_gateway_mtu(external, spec, context)
    options = {"gateway_mtu": str(mtu)} if mtu else {}
    if is_bridged(spec):
        options["redirect-type"] = "bridged"
    return [
        NbRow(
            "Logical_Router_Port",
            row_uuid("Logical_Router_Port", f"ExternalNetwork/{port}"),
            {
                "name": port,
                "mac": leg.mac,
                "networks": frozenset(addresses),
                # A second list beside the group would be one that OVN ignores, and that people believe.
                "gateway_chassis": frozenset(),
                "ha_chassis_group": names.gateway_group(leg.name),
                "options": options,
                "external_ids": owner,
            },
            declared.key,
            Parent("Logical_Router", names.logical_router(declared.name), "ports"),
        ),
        NbRow(
            "Logical_Switch_Port",
            row_uuid("Logical_Switch_Port", f"ExternalNetwork/{peer}"),
            {
                "name": peer,
                "type": "router",
                "addresses": frozenset(("router",)),
                # Without nat-addresses a new active gateway announces nothing but the port's own address.
                "options": {"router-port": port, "nat-addresses": "router"},
                "external_ids": {**owner, **told},
            },
            declared.key,
            Parent("Logical_Switch", names.external_switch(network), "ports"),
        ),
    ]


def _route_row(declared: Declared, identity: str, to: str, via: str, output_port: str | None = None) -> NbRow:
    """Return a static route; `output_port` None lets northd find the port whose network holds `via`."""
    return NbRow(
        "Logical_Router_Static_Route",
        row_uuid("Logical_Router_Static_Route", f"{declared.name} {identity}"),
        {
            "ip_prefix": to,
            "nexthop": via,
            "output_port": output_port,
            "policy": None,
            "external_ids": {OWNER: str(declared.key)},
        },
        declared.key,
        Parent("Logical_Router", names.logical_router(declared.name), "static_routes"),
    )
