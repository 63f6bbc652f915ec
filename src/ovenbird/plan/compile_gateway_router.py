"""Rows of a router whose legs are gateway routers: a transit switch between it and them, and routes both ways.

    networks - distributed router "r1" - switch "r1_transit" - gateway router "r1_gw" - external network
                                                             - router "r1_watch"

A gateway router lives on one chassis (`options:chassis`), alive or not: only the controller moves it. It must never
have a distributed gateway port: northd would skip that with no more than a log line. But without any HA_Chassis_Group
in use, no chassis watches another by BFD, and nobody would know of its death. So each leg has a group, which holds its
gateways' order as other routers' do, used by a port of a router that carries nothing, "r1_watch": BFD then runs between
the gateways, and from all chassis with workloads behind the transit switch (ref_chassis, ovn-sb(5)).

Several legs are one ECMP route each. Their number never changes while gateways come and go: OVN would spread flows anew
with each change, and move connections that nothing had happened to (docs/adr/0008-gateway-routers.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ovenbird.model.addresses import derived_mac, parse_address, parse_subnet
from ovenbird.model.objects import Declared, ExternalNetwork, Network, Router
from ovenbird.plan import compile_names as names
from ovenbird.plan.compile_context import CompileContext, external_gateway_mtu
from ovenbird.plan.compile_pinning import inside_row
from ovenbird.plan.legs import Leg, legs_of
from ovenbird.plan.rows import OWNER, NbRow, Parent, row_uuid
from ovenbird.plan.transit import DISTRIBUTED_ADDRESS, TRANSIT_PREFIX, WATCH_ADDRESS, transit_address, watch_address

ANYWHERE = "0.0.0.0/0"
ON_SHARED_SWITCH = {"always_learn_from_arp_request": "false", "dynamic_neigh_routers": "true"}
"""As for every router on an external network's switch; see `compile_router.py`."""


def pinned_rows(
    declared: Declared, spec: Router, external: ExternalNetwork, context: CompileContext
) -> Iterator[NbRow]:
    """Yield what such a router has beside its Logical_Router, without what its networks and floating IPs own.

    Gateway routers are there before they have a gateway: what others hang under them must not wait.
    """
    legs = tuple(legs_of(declared))
    yield from _transit_rows(declared)
    for leg in legs:
        gateways = context.placement.routers.get(leg.name, ()) if leg.address else ()
        chassis = gateways[0][0] if gateways else ""
        yield _gateway_router_row(declared, leg, chassis)
        if chassis:
            yield from _leg_rows(declared, leg, external, context)
    yield from _route_rows(declared, spec, external, legs)


def watch_rows(declared: Declared, legs: Sequence[Leg]) -> Iterator[NbRow]:
    """Yield the router that makes chassis watch the legs' gateways; `legs` are those that have a group."""
    router = row_uuid("Logical_Router", f"{declared.name}_watch")
    yield _row(declared, "Logical_Router", router, {"name": f"{declared.name}_watch", "options": {}})
    yield from _transit_port(declared, f"{declared.name}_watch", router, WATCH_ADDRESS)
    for leg in legs:
        port = names.watch_port(leg.name)
        columns = {
            "name": port,
            "mac": derived_mac("watch", leg.name),
            "networks": frozenset((f"{watch_address(leg.number)}/32",)),
            "ha_chassis_group": names.gateway_group(leg.name),
            "options": {},
        }
        yield _row(declared, "Logical_Router_Port", row_uuid("Logical_Router_Port", port), columns, _ports(router))


def network_leg_rows(declared: Declared, spec: Network, router: Declared, router_spec: Router) -> Iterator[NbRow]:
    """Yield what makes a network reachable from each gateway router of its router, and SNAT there."""
    yield from inside_row(declared, router, spec.cidr)
    for leg in legs_of(router):
        parent = names.gateway_router(leg.name)
        yield _route(declared, parent, f"{leg.name} {declared.name}", spec.cidr, DISTRIBUTED_ADDRESS, None)
        if router_spec.external is not None and router_spec.external.snat and leg.address:
            columns = {
                "type": "snat",
                "external_ip": leg.address,
                "logical_ip": spec.cidr,
                "external_mac": None,
                "logical_port": None,
            }
            uuid = row_uuid("NAT", f"Network/{declared.name} {leg.name}")
            yield _row(declared, "NAT", uuid, columns, Parent("Logical_Router", parent, "nat"))


def _transit_rows(declared: Declared) -> Iterator[NbRow]:
    switch = _transit_switch(declared.name)
    yield _row(declared, "Logical_Switch", switch, {"name": f"{declared.name}_transit"})
    yield from _transit_port(declared, declared.name, names.logical_router(declared.name), DISTRIBUTED_ADDRESS)


def _gateway_router_row(declared: Declared, leg: Leg, chassis: str) -> NbRow:
    return NbRow(
        "Logical_Router",
        names.gateway_router(leg.name),
        {
            "name": names.gateway_router_name(leg.name),
            "options": {**ON_SHARED_SWITCH, "chassis": chassis} if chassis else {},
            "external_ids": {OWNER: str(declared.key)},
        },
        declared.key,
        # Load balancers answer at one address: the first leg's gateway router has it, their targets reply that way.
        members={
            "load_balancer_group": frozenset((names.load_balancer_group(declared.name),) if leg.number == 1 else ())
        },
    )


def _leg_rows(declared: Declared, leg: Leg, external: ExternalNetwork, context: CompileContext) -> Iterator[NbRow]:
    router = names.gateway_router(leg.name)
    yield from _transit_port(declared, names.gateway_router_name(leg.name), router, transit_address(leg.number))
    port, peer = names.pinned_port(leg.name, leg.network), f"{leg.network}_to_{leg.name}_gw"
    mtu = external_gateway_mtu(external, None, context)
    columns = {
        "name": port,
        "mac": leg.mac,
        "networks": frozenset((f"{leg.address}/{external.cidr.partition('/')[2]}",)),
        "ha_chassis_group": None,
        "options": {"gateway_mtu": str(mtu)} if mtu else {},
    }
    yield _row(declared, "Logical_Router_Port", row_uuid("Logical_Router_Port", port), columns, _ports(router))
    yield _peer(declared, peer, port, names.external_switch(leg.network), {"nat-addresses": "router"})


def _route_rows(declared: Declared, spec: Router, external: ExternalNetwork, legs: Sequence[Leg]) -> Iterator[NbRow]:
    """Yield static routes: what lies outside is behind the gateway routers, what lies inside behind the router."""
    outside = parse_subnet(external.cidr)
    routes = [(route.to, route.via) for route in spec.routes]
    # A declared default route takes the place of the implied one: two would be an ECMP pair.
    if external.gateway and all(to != ANYWHERE for to, _ in routes):
        routes.append((ANYWHERE, external.gateway))
    outward = {external.cidr, *(to for to, via in routes if parse_address(via) in outside)}
    distributed, port = names.logical_router(declared.name), _transit_name(declared.name)
    for leg in legs:
        for to, via in routes:
            hop = via if parse_address(via) in outside else DISTRIBUTED_ADDRESS
            yield _route(declared, names.gateway_router(leg.name), f"{leg.name} {to} via {via}", to, hop, None)
        for to in sorted(outward):
            yield _route(declared, distributed, f"{leg.name} {to} outward", to, transit_address(leg.number), port)
    for to, via in routes:
        if to not in outward:
            yield _route(declared, distributed, f"{declared.name} {to} via {via}", to, via, None)
            if to != ANYWHERE:
                yield from inside_row(declared, declared, to)


def _transit_switch(router: str) -> str:
    return row_uuid("Logical_Switch", f"{router}_transit")


def _transit_name(who: str) -> str:
    """Return the name of a router's port in the transit switch; two underscores are in no other port's name."""
    return f"{who}__transit"


def _transit_port(declared: Declared, who: str, router: str, address: str) -> Iterator[NbRow]:
    port = _transit_name(who)
    columns: dict[str, Any] = {
        "name": port,
        "mac": derived_mac("transit", who),
        "networks": frozenset((f"{address}/{TRANSIT_PREFIX}",)),
        "ha_chassis_group": None,
        "options": {},
    }
    yield _row(declared, "Logical_Router_Port", row_uuid("Logical_Router_Port", port), columns, _ports(router))
    yield _peer(declared, f"transit__{who}", port, _transit_switch(declared.name), {})


def _peer(declared: Declared, name: str, port: str, switch: str, more: dict[str, str]) -> NbRow:
    columns = {
        "name": name,
        "type": "router",
        "addresses": frozenset(("router",)),
        "options": {"router-port": port, **more},
    }
    uuid = row_uuid("Logical_Switch_Port", name)
    return _row(declared, "Logical_Switch_Port", uuid, columns, Parent("Logical_Switch", switch, "ports"))


def _route(declared: Declared, router: str, identity: str, to: str, via: str, port: str | None) -> NbRow:
    columns = {"ip_prefix": to, "nexthop": via, "output_port": port, "policy": None}
    uuid = row_uuid("Logical_Router_Static_Route", identity)
    parent = Parent("Logical_Router", router, "static_routes")
    return _row(declared, "Logical_Router_Static_Route", uuid, columns, parent)


def _ports(router: str) -> Parent:
    return Parent("Logical_Router", router, "ports")


def _row(declared: Declared, table: str, uuid: str, columns: dict[str, Any], parent: Parent | None = None) -> NbRow:
    return NbRow(table, uuid, {**columns, "external_ids": {OWNER: str(declared.key)}}, declared.key, parent)
