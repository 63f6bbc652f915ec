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

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ovenbird.model.addresses import derived_mac, parse_address, parse_subnet
from ovenbird.model.addresses6 import PREFIX_LEN, is_link_local, is_within
from ovenbird.model.objects import Declared, ExternalNetwork, Network, Router
from ovenbird.plan import compile_names as names
from ovenbird.plan.addressing6 import announced6, leg_address6
from ovenbird.plan.compile_context import CompileContext, external_gateway_mtu
from ovenbird.plan.compile_pinning import inside_row
from ovenbird.plan.inventory import InventoryView
from ovenbird.plan.legs import Leg, legs_of
from ovenbird.plan.rows import ANNOUNCED6, OWNER, NbRow, Parent, row_uuid
from ovenbird.plan.transit import (
    DISTRIBUTED_ADDRESS,
    DISTRIBUTED_ADDRESS6,
    TRANSIT_PREFIX,
    WATCH_ADDRESS,
    transit_address,
    transit_address6,
    watch_address,
)

ANYWHERE, ANYWHERE6 = "0.0.0.0/0", "::/0"
ON_SHARED_SWITCH = {"always_learn_from_arp_request": "false", "dynamic_neigh_routers": "true"}
"""Routers with an external leg share its switch, perhaps with a thousand others that they never talk to. By default
northd makes flows for every pair of them and each learns every ARP it overhears (ovn-nb(5)): quadratic, for nothing.
A changed MAC of a known neighbour, such as an upstream router's failover, is still learnt."""


def pinned_rows(
    declared: Declared, spec: Router, external: ExternalNetwork, inventory: InventoryView, context: CompileContext
) -> Iterator[NbRow]:
    """Yield what such a router has beside its Logical_Router, without what its networks and floating IPs own.

    Gateway routers are there before they have a gateway: what others hang under them must not wait.
    """
    legs = tuple(legs_of(declared))
    yield from _transit_rows(declared, external)
    for leg in legs:
        gateways = context.placement.routers.get(leg.name, ()) if leg.address else ()
        chassis = gateways[0][0] if gateways else ""
        yield _gateway_router_row(declared, leg, chassis)
        if chassis:
            yield from _leg_rows(declared, spec, leg, external, inventory, context)
    for family in _families(spec, external):
        yield from _route_rows(declared, family, legs)


def watch_rows(declared: Declared, legs: Sequence[Leg]) -> Iterator[NbRow]:
    """Yield the router that makes chassis watch the legs' gateways; `legs` are those that have a group."""
    router = row_uuid("Logical_Router", f"{declared.name}_watch")
    yield _row(declared, "Logical_Router", router, {"name": f"{declared.name}_watch", "options": {}})
    yield from _transit_port(
        declared, f"{declared.name}_watch", router, frozenset((f"{WATCH_ADDRESS}/{TRANSIT_PREFIX}",))
    )
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


def network_leg_rows(
    declared: Declared, spec: Network, router: Declared, router_spec: Router, inventory: InventoryView
) -> Iterator[NbRow]:
    """Yield what makes a network reachable from each gateway router of its router, and SNAT there."""
    outward = router_spec.external
    external = inventory.spec(ExternalNetwork, outward.network) if outward else None
    prefix6 = spec.cidr6 if external and external.cidr6 else None
    yield from inside_row(declared, router, spec.cidr)
    if prefix6:
        yield from inside_row(declared, router, prefix6)
    for leg in legs_of(router):
        parent, who = names.gateway_router(leg.name), f"{leg.name} {declared.name}"
        yield _route(declared, parent, who, spec.cidr, DISTRIBUTED_ADDRESS, None)
        if outward and outward.snat and leg.address:
            yield _snat(declared, parent, f"Network/{declared.name} {leg.name}", spec.cidr, leg.address)
        if prefix6 and external:
            yield _route(declared, parent, f"{who} IPv6", prefix6, DISTRIBUTED_ADDRESS6, None)
            if outward and outward.snat6 and leg.address:
                address6 = leg_address6(leg, router_spec, external)
                yield _snat(declared, parent, f"Network/{declared.name} {leg.name} IPv6", prefix6, address6)


def _snat(declared: Declared, router: str, identity: str, inside: str, outside: str) -> NbRow:
    columns = {
        "type": "snat",
        "external_ip": outside,
        "logical_ip": inside,
        "external_mac": None,
        "logical_port": None,
    }
    return _row(declared, "NAT", row_uuid("NAT", identity), columns, Parent("Logical_Router", router, "nat"))


def _transit_rows(declared: Declared, external: ExternalNetwork) -> Iterator[NbRow]:
    switch = _transit_switch(declared.name)
    yield _row(declared, "Logical_Switch", switch, {"name": f"{declared.name}_transit"})
    networks = _transit_networks(external, DISTRIBUTED_ADDRESS, DISTRIBUTED_ADDRESS6)
    yield from _transit_port(declared, declared.name, names.logical_router(declared.name), networks)


def _transit_networks(external: ExternalNetwork, address: str, address6: str) -> frozenset[str]:
    """Return the networks of a port in the transit switch; IPv6 is there where it leads somewhere."""
    found = {f"{address}/{TRANSIT_PREFIX}"}
    return frozenset(found | {f"{address6}/{PREFIX_LEN}"} if external.cidr6 else found)


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


def _leg_rows(
    declared: Declared,
    spec: Router,
    leg: Leg,
    external: ExternalNetwork,
    inventory: InventoryView,
    context: CompileContext,
) -> Iterator[NbRow]:
    router = names.gateway_router(leg.name)
    networks = _transit_networks(external, transit_address(leg.number), transit_address6(leg.number))
    yield from _transit_port(declared, names.gateway_router_name(leg.name), router, networks)
    addresses, announced = [f"{leg.address}/{external.cidr.partition('/')[2]}"], {}
    if address6 := leg_address6(leg, spec, external):
        addresses.append(f"{address6}/{PREFIX_LEN}")
        announced[ANNOUNCED6] = announced6(declared, leg, address6, inventory)
    port, peer = names.pinned_port(leg.name, leg.network), f"{leg.network}_to_{leg.name}_gw"
    mtu = external_gateway_mtu(external, None, context)
    columns = {
        "name": port,
        "mac": leg.mac,
        "networks": frozenset(addresses),
        "ha_chassis_group": None,
        "options": {"gateway_mtu": str(mtu)} if mtu else {},
    }
    yield _row(declared, "Logical_Router_Port", row_uuid("Logical_Router_Port", port), columns, _ports(router))
    yield _peer(declared, peer, port, names.external_switch(leg.network), {"nat-addresses": "router"}, announced)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Family:
    """Routes of a router by IPv4 or by IPv6."""

    routes: tuple[tuple[str, str], ...]
    """Destination and next hop, the default route included."""
    outside: str
    """The external network's prefix, "" if it has none of this family."""
    hops_outside: frozenset[str]
    """Those of the next hops that are in the external network."""
    distributed: str
    """The distributed router's address in the transit switch."""
    leg_address: Callable[[int], str]

    @property
    def outward(self) -> list[str]:
        """Destinations that lie outside."""
        return sorted({self.outside, *(to for to, via in self.routes if via in self.hops_outside)} - {""})


def _families(spec: Router, external: ExternalNetwork) -> Iterator[_Family]:
    outside = parse_subnet(external.cidr)
    routes = _with_default(spec, ANYWHERE, external.gateway)
    yield _Family(
        routes=routes,
        outside=external.cidr,
        hops_outside=frozenset(via for _, via in routes if parse_address(via) in outside),
        distributed=DISTRIBUTED_ADDRESS,
        leg_address=transit_address,
    )
    prefix6 = external.cidr6 or ""
    routes = _with_default(spec, ANYWHERE6, external.gateway6)
    yield _Family(
        routes=routes,
        outside=prefix6,
        hops_outside=frozenset(via for _, via in routes if is_link_local(via) or (prefix6 and is_within(via, prefix6))),
        distributed=DISTRIBUTED_ADDRESS6,
        leg_address=transit_address6,
    )


def _with_default(spec: Router, anywhere: str, gateway: str | None) -> tuple[tuple[str, str], ...]:
    """Return the routes of the family of `anywhere`; a declared default route takes the place of the implied one."""
    routes = [(route.to, route.via) for route in spec.routes if route.is_ipv6 == (":" in anywhere)]
    if gateway and all(to != anywhere for to, _ in routes):  # two would be an ECMP pair
        routes.append((anywhere, gateway))
    return tuple(routes)


def _route_rows(declared: Declared, family: _Family, legs: Sequence[Leg]) -> Iterator[NbRow]:
    """Yield static routes: what lies outside is behind the gateway routers, what lies inside behind the router."""
    distributed, port, outward = names.logical_router(declared.name), _transit_name(declared.name), family.outward
    for leg in legs:
        own = names.gateway_router(leg.name)
        for to, via in family.routes if family.outside else ():
            is_outside = via in family.hops_outside
            # A link-local next hop does not say by itself where it is.
            leaves_by = names.pinned_port(leg.name, leg.network) if is_outside and ":" in via else None
            hop = via if is_outside else family.distributed
            yield _route(declared, own, f"{leg.name} {to} via {via}", to, hop, leaves_by)
        for to in outward:
            yield _route(declared, distributed, f"{leg.name} {to} outward", to, family.leg_address(leg.number), port)
    for to, via in family.routes:
        if to not in outward:
            yield _route(declared, distributed, f"{declared.name} {to} via {via}", to, via, None)
            if to not in (ANYWHERE, ANYWHERE6):
                yield from inside_row(declared, declared, to)


def _transit_switch(router: str) -> str:
    return row_uuid("Logical_Switch", f"{router}_transit")


def _transit_name(who: str) -> str:
    """Return the name of a router's port in the transit switch; two underscores are in no other port's name."""
    return f"{who}__transit"


def _transit_port(declared: Declared, who: str, router: str, networks: frozenset[str]) -> Iterator[NbRow]:
    port = _transit_name(who)
    columns: dict[str, Any] = {
        "name": port,
        "mac": derived_mac("transit", who),
        "networks": networks,
        "ha_chassis_group": None,
        "options": {},
    }
    yield _row(declared, "Logical_Router_Port", row_uuid("Logical_Router_Port", port), columns, _ports(router))
    yield _peer(declared, f"transit__{who}", port, _transit_switch(declared.name), {}, {})


def _peer(declared: Declared, name: str, port: str, switch: str, more: dict[str, str], noted: dict[str, str]) -> NbRow:
    columns = {
        "name": name,
        "type": "router",
        "addresses": frozenset(("router",)),
        "options": {"router-port": port, **more},
    }
    uuid = row_uuid("Logical_Switch_Port", name)
    return _row(declared, "Logical_Switch_Port", uuid, columns, Parent("Logical_Switch", switch, "ports"), noted)


def _route(declared: Declared, router: str, identity: str, to: str, via: str, port: str | None) -> NbRow:
    columns = {"ip_prefix": to, "nexthop": via, "output_port": port, "policy": None}
    uuid = row_uuid("Logical_Router_Static_Route", identity)
    parent = Parent("Logical_Router", router, "static_routes")
    return _row(declared, "Logical_Router_Static_Route", uuid, columns, parent)


def _ports(router: str) -> Parent:
    return Parent("Logical_Router", router, "ports")


def _row(
    declared: Declared,
    table: str,
    uuid: str,
    columns: dict[str, Any],
    parent: Parent | None = None,
    noted: Mapping[str, str] | None = None,
) -> NbRow:
    owner = {OWNER: str(declared.key), **(noted or {})}
    return NbRow(table, uuid, {**columns, "external_ids": owner}, declared.key, parent)
