"""What admission asks of the networks that meet: on one router, or on one physical network.

Each check records what is wrong in `Findings` and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ovenbird.model.addresses import Subnet, parse_address, parse_subnet
from ovenbird.model.objects import ExternalNetwork, Key, Network, Router
from ovenbird.plan.admission_ipv6 import Ipv6Checks
from ovenbird.plan.compile_context import CompileContext, network_mtu
from ovenbird.plan.compile_further import default_network
from ovenbird.plan.findings import Findings, Place
from ovenbird.plan.inventory import InventoryView

_DEFAULT_ROUTE = "0.0.0.0/0"
Leg = tuple[Subnet, Key]


@dataclass(frozen=True, slots=True, kw_only=True)
class TopologyChecks:
    """The rules of networks that meet."""

    view: InventoryView
    found: Findings
    underlay_mtu: int

    def check_router(self, name: str) -> None:
        """Record what is wrong among a router's networks, its external network and its routes."""
        router = self.view.spec(Router, name)
        if not router:
            return
        key = Key("Router", name)
        legs: list[Leg] = [
            (parse_subnet(each.spec.cidr), each.key)
            for each in self.view.networks_of(name)
            if isinstance(each.spec, Network)
        ]
        for leg in router.externals:
            if external := self.view.spec(ExternalNetwork, leg.network):
                legs.append((parse_subnet(external.cidr), Key("ExternalNetwork", leg.network)))
                self._mtu(key, router, external)
        Ipv6Checks(view=self.view, found=self.found).check_router(name)
        default = default_network(router, self.view)
        external = self.view.spec(ExternalNetwork, default)
        for one, other in _overlapping(legs):
            attached = (Place(key, ("external", "network")), Place(key, ("further",)))
            self._overlap(one, other, f"both are on {key}", *attached)
        self._routes(key, router, legs, external)

    def check_segment(self, physnet: str, vlan: int | None) -> None:
        """Record what is wrong among the networks of one VLAN of a physical network."""
        there = self.view.networks_on(physnet, vlan)
        where = f"physnet {physnet!r}" + (f" VLAN {vlan}" if vlan else " untagged")
        if len(there) > 1 and any(key.kind == "Network" for key in there):
            places = self.found.blamed_first(*(Place(key, ("vlan",)) for key in sorted(there)))
            first = places[1].key
            message = f"{where} carries {first}{self.found.line_note(first)} already, and nothing may share it"
            self.found.problem(message, *places, hint="a Network needs a VLAN of its own")
            return
        found = ((key, self.view.spec(ExternalNetwork, key.name)) for key in there)
        legs: list[Leg] = [(parse_subnet(spec.cidr), key) for key, spec in found if spec]
        for one, other in _overlapping(legs):
            self._overlap(one, other, f"both are on {where}")
        Ipv6Checks(view=self.view, found=self.found).check_segment(frozenset(there), where)

    def _overlap(self, one: Leg, other: Leg, why: str, *more: Place) -> None:
        subnet_of = {one[1]: one[0], other[1]: other[0]}
        places = self.found.blamed_first(*(Place(key, ("cidr",)) for key in subnet_of))
        blamed, first = places[0].key, places[1].key
        note = self.found.line_note(first)
        message = f"{subnet_of[blamed]} overlaps {first}{note}, {subnet_of[first]}; {why}"
        self.found.problem(message, *places, *more)

    def _mtu(self, key: Key, router: Router, external: ExternalNetwork) -> None:
        context = CompileContext(underlay_mtu=self.underlay_mtu)
        for each in self.view.networks_of(key.name):
            mtu = network_mtu(each.spec, router, context) if isinstance(each.spec, Network) else 0
            if mtu > external.mtu:
                message = f"its mtu {mtu} is more than the {external.mtu} of {key}'s external network"
                hint = "large packets to the outside will not get through; set a smaller 'mtu'"
                self.found.warn(message, Place(each.key, ("mtu",)), Place(key), hint=hint)

    def _routes(self, key: Key, router: Router, legs: list[Leg], external: ExternalNetwork | None) -> None:
        seen: dict[tuple[str, str], int] = {}
        for at, route in enumerate(router.routes):
            if route.is_ipv6:
                continue  # judged by `Ipv6Checks`
            place = Place(key, ("routes", at, "via"))
            number = parse_address(route.via)
            leg = next((network for subnet, network in legs if number in subnet), None)
            if leg is None:
                self._unreachable(route.via, place, key, legs)
            elif key in self.view.address_owners(leg, number) or self._is_own_leg(leg, number):
                self.found.problem(f"route via {route.via} is {key}'s own address", place, Place(leg, ("gateway",)))
            if route.to == _DEFAULT_ROUTE and external and external.gateway:
                message = f"a default route already leads to the external network's gateway {external.gateway}"
                hint = "remove this route, or the gateway of the ExternalNetwork"
                self.found.problem(message, Place(key, ("routes", at, "to")), hint=hint)
            if seen.setdefault((route.to, route.via), at) != at:
                message = f"the route to {route.to} via {route.via} is given twice"
                self.found.problem(message, Place(key, ("routes", at, "to")), hint="keep one of them")

    def _is_own_leg(self, leg: Key, number: int) -> bool:
        return leg.kind == "Network" and leg in self.view.address_owners(leg, number)

    def _unreachable(self, via: str, place: Place, key: Key, legs: list[Leg]) -> None:
        shown = ", ".join(f"{network} {subnet}" for subnet, network in legs[:5])
        more = f" and {len(legs) - 5} more" if len(legs) > 5 else ""
        hint = f"it is attached to {shown}{more}" if legs else "it is attached to no network"
        message = f"route via {via} leads nowhere: no network of the router has that address"
        self.found.problem(message, place, *(Place(leg, ("cidr",)) for _, leg in legs), hint=hint)


def _overlapping(legs: Iterable[Leg]) -> Iterable[tuple[Leg, Leg]]:
    """Yield pairs that overlap: each network with the widest before it, so n networks give at most n-1 pairs."""
    widest: Leg | None = None
    for leg in sorted(legs):
        if widest and leg[0].base <= widest[0].broadcast:
            yield widest, leg
        if widest is None or leg[0].broadcast > widest[0].broadcast:
            widest = leg
