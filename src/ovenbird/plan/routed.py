"""What a gateway's kernel must route for the physical networks that it reaches by routing. Pure.

The provider bridge of such a network has no uplink: what leaves it comes to the host's own stack at the bridge's port,
which has the network's gateway address. All routes are in a table of their own: those of what is carried, and the
default route from upstream. What OVN sends never takes another way, and the host's own traffic never this default.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ovenbird.model.addresses import parse_address, parse_subnet
from ovenbird.model.objects import Declared, ExternalNetwork, Network, Router
from ovenbird.plan.announcing import Announcement
from ovenbird.plan.legs import legs_of
from ovenbird.plan.switch import provider_bridge

TABLE = 111
"""Number of the kernel's routing table."""
PROTOCOL = 111
"""`proto` of routes that say what is carried; free for administrators (rtnetlink(7), RTPROT_STATIC and above)."""
RULES_FROM = 1110
"""Preference of the first of our rules: after the host's own addresses, before the table `main`."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class RoutedNetwork:
    """An ExternalNetwork on a physical network that hosts route to."""

    name: str
    physnet: str
    cidr: str
    gateway: str
    """Address that routers send to; the host has it."""
    behind: tuple[tuple[str, str], ...] = ()
    """(router's address, prefix of a network behind it) for each network that the router does not translate."""


@dataclass(frozen=True, slots=True, order=True)
class CarriedRoute:
    """One route of the table."""

    prefix: str
    """"172.16.0.10" or "10.1.0.0/24", as ip-route(8) prints it."""
    bridge: str
    via: str = ""
    """Router behind which it is; "" when it is asked for by ARP itself."""

    def to_line(self) -> str:
        """Return what is behind `route replace` and `route del` for `ip -batch`."""
        via = f" via {self.via}" if self.via else ""
        onlink = " onlink" if self.via else ""
        return f"{self.prefix}{via} dev {self.bridge} proto {PROTOCOL} table {TABLE}{onlink}"


def carried_routes(held: Collection[Announcement], networks: Iterable[RoutedNetwork]) -> frozenset[CarriedRoute]:
    """Return the routes to what a gateway carries."""
    by_physnet: dict[str, set[str]] = {}
    for one in held:
        if "." in one.address and not one.vlan:
            by_physnet.setdefault(one.physnet, set()).add(one.address)
    found: dict[str, CarriedRoute] = {}
    for network in networks:
        subnet, bridge = parse_subnet(network.cidr), provider_bridge(network.physnet)
        ours = {each for each in by_physnet.get(network.physnet, ()) if parse_address(each) in subnet}
        found |= {address: CarriedRoute(address, bridge) for address in ours}
        # Of several legs of one router that are here together one leads to its networks.
        for router, prefix in network.behind:
            if router in ours:
                found.setdefault(prefix, CarriedRoute(prefix, bridge, router))
    return frozenset(found.values())


def rules(physnets: Iterable[str], networks: Iterable[RoutedNetwork]) -> tuple[str, ...]:
    """Return the rules of ip-rule(8), in their order, each without its preference.

    What OVN sends is routed by the table alone, and nowhere when that has no way: never by the host's own default. Nor
    does that lead to anybody what comes for an address that was carried here until now: it goes back upstream.
    """
    bridges = [provider_bridge(physnet) for physnet in sorted(physnets)]
    if not bridges:
        return ()
    return (
        *(f"iif {bridge} lookup {TABLE}" for bridge in bridges),
        f"lookup {TABLE} suppress_prefixlength 0",
        *(f"iif {bridge} unreachable" for bridge in bridges),
        *(f"to {subnet} lookup {TABLE}" for subnet in sorted({str(parse_subnet(each.cidr)) for each in networks})),
    )


def changes(wanted: Collection[CarriedRoute], there: Collection[CarriedRoute]) -> tuple[str, ...]:
    """Return lines for `ip -batch`: what is new first."""
    new, gone = set(wanted) - set(there), set(there) - set(wanted)
    kept = {each.prefix for each in wanted}
    return (
        *(f"route replace {each.to_line()}" for each in sorted(new)),
        *(f"route del {each.to_line()}" for each in sorted(gone) if each.prefix not in kept),
    )


def routed_networks(declared: Collection[Declared], physnets: Collection[str]) -> tuple[RoutedNetwork, ...]:
    """Return the external networks on these physical networks, of all declared networks and routers."""
    behind: dict[str, list[tuple[str, str]]] = {}
    prefixes: dict[str, list[str]] = {}
    for each in declared:
        if isinstance(each.spec, Network) and each.spec.router is not None:
            prefixes.setdefault(each.spec.router, []).append(each.spec.cidr)
    for each in declared:
        if isinstance(each.spec, Router):
            plain = {external.network for external in each.spec.externals if not external.snat}
            for leg in legs_of(each):
                if leg.network in plain and leg.address:
                    behind.setdefault(leg.network, []).extend(
                        (leg.address, cidr) for cidr in prefixes.get(each.name, ())
                    )
    return tuple(
        RoutedNetwork(
            name=each.name,
            physnet=each.spec.physnet,
            cidr=each.spec.cidr,
            gateway=each.spec.gateway,
            behind=tuple(sorted(behind.get(each.name, ()))),
        )
        for each in sorted(declared, key=lambda each: each.name)
        if isinstance(each.spec, ExternalNetwork) and each.spec.physnet in physnets and each.spec.gateway is not None
    )
