"""What admission asks of IPv6: addresses inside their prefixes and nobody else's, and routes that lead somewhere.

Each check records what is wrong in `Findings` and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from ovenbird.model.addresses6 import derived_address6, is_for_hosts, is_within, number6, router_address6
from ovenbird.model.objects import (
    ExternalNetwork,
    FloatingIP,
    Key,
    LoadBalancer,
    Network,
    Port,
    Router,
    RouterExternal,
)
from ovenbird.plan.addressing6 import leg_address6
from ovenbird.plan.compile_further import default_network
from ovenbird.plan.compile_gateway_router import ANYWHERE6
from ovenbird.plan.findings import Findings, Place
from ovenbird.plan.index_terms import target_ports
from ovenbird.plan.inventory import InventoryView
from ovenbird.plan.legs import is_pinned, legs_of
from ovenbird.plan.reach import router_between
from ovenbird.plan.transit import TRANSIT6

_EXAMPLE_MAC = "0a:12:34:56:78:9a"
_SHOWN = 5
Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ipv6Checks:
    """The rules of IPv6."""

    view: InventoryView
    found: Findings

    def check_leg(self, key: Key, spec: Router, leg: RouterExternal, path: Path) -> None:
        """Record what is wrong with what a router's leg into an external network asks for."""
        asked = [(*path, name) for name in ("address6", "snat6") if getattr(leg, name)]
        external = self.view.spec(ExternalNetwork, leg.network)
        if not asked or external is None:
            return
        if external.cidr6 is None:
            self._lacks_prefix(key, asked[0], Key("ExternalNetwork", leg.network))
        elif leg.address6:
            self._address(key, leg.address6, external.cidr6, Key("ExternalNetwork", leg.network), (*path, "address6"))

    def check_network(self, key: Key, spec: Network) -> None:
        """Warn of what workloads of a network would be told, but have nobody to tell them to ask for."""
        if (spec.dhcp6 or spec.dns6) and spec.router is None:
            path = ("dhcp6",) if spec.dhcp6 else ("dns6",)
            message = "without a router nobody tells workloads to ask by DHCPv6"
            self.found.warn(message, Place(key, path), hint="give it 'router', or have workloads ask by themselves")

    def check_floating_ip(self, key: Key, spec: FloatingIP) -> None:
        """Record what is wrong with a floating IP's IPv6 address."""
        external, port = self.view.spec(ExternalNetwork, spec.network), self.view.spec(Port, spec.port)
        if spec.address6 is None or external is None or port is None:
            return
        path: Path = ("address6",)
        if external.cidr6 is None:
            self._lacks_prefix(key, path, Key("ExternalNetwork", spec.network))
            return
        self._address(key, spec.address6, external.cidr6, Key("ExternalNetwork", spec.network), path)
        network = self.view.spec(Network, port.network)
        if network is not None and network.cidr6 is None:
            self._leads_nowhere(key, spec.port, port)
        name = router_between(spec.network, spec.port, self.view)
        router = self.view.spec(Router, name) if name else None
        if router is None:
            return  # which is told by the rules of floating IPs
        there = Place(Key("Router", str(name)), ("gateways", "mode"))
        if router.further and default_network(router, self.view, ipv6=True) != spec.network:
            message = f"answers would leave another way: Router/{name} has its IPv6 default route elsewhere"
            hint = "take address6 from the first of the router's external networks that has a gateway6"
            self.found.problem(message, Place(key, path), there, hint=hint)

    def check_load_balancer(self, key: Key, spec: LoadBalancer) -> None:
        """Record what is wrong with a load balancer's IPv6 address; who may share one is for `InwardChecks`."""
        external, space = self.view.spec(ExternalNetwork, spec.network), Key("ExternalNetwork", spec.network)
        if spec.address6 is None or external is None:
            return
        path: Path = ("address6",)
        if external.cidr6 is None:
            self._lacks_prefix(key, path, space)
            return
        self._address(key, spec.address6, external.cidr6, space, path, beside=frozenset(("LoadBalancer",)))
        if spec.affinity == "client":
            # Its OpenFlow groups choose by the IPv4 fields, which an IPv6 packet does not have (ovs-ofctl dump-groups).
            message = 'affinity "client" does not work by IPv6: OVN 23.03 leads every client to the same one target'
            hint = "leave affinity out, or make a load balancer without it for address6"
            self.found.problem(message, Place(key, ("affinity",)), Place(key, path), hint=hint)
        for name in target_ports(spec):
            port = self.view.spec(Port, name)
            network = self.view.spec(Network, port.network) if port else None
            if port and network and network.cidr6 is None:
                self._leads_nowhere(key, name, port)

    def _leads_nowhere(self, key: Key, name: str, port: Port) -> None:
        message = f"address6 leads nowhere: Port/{name} has no IPv6 address"
        places = Place(key, ("address6",)), Place(Key("Network", port.network), ("cidr6",))
        self.found.problem(message, *places, hint=f"give Network/{port.network} a cidr6")

    def check_router(self, name: str) -> None:
        """Record what is wrong among the prefixes of a router's networks."""
        router, key = self.view.spec(Router, name), Key("Router", name)
        if router is None:
            return
        networks = [(each.key, each.spec) for each in self.view.networks_of(name) if isinstance(each.spec, Network)]
        legs = [(Key("ExternalNetwork", leg.network), leg.network) for leg in router.externals]
        external = [(there, spec) for there, of in legs if (spec := self.view.spec(ExternalNetwork, of))]
        prefixes = [(there, spec.cidr6) for there, spec in networks] + [(there, spec.cidr6) for there, spec in external]
        self._same_prefix(prefixes, f"both are on {key}", key)
        for there, prefix in prefixes if is_pinned(router) else ():
            if prefix == TRANSIT6:
                message = f"{prefix} is what {key} needs between itself and its gateway routers"
                places = Place(there, ("cidr6",)), Place(key, ("gateways", "mode"))
                self.found.problem(message, *places, hint="choose another 'cidr6'")
        self._routes(key, router, [(there, prefix) for there, prefix in prefixes if prefix])

    def _routes(self, key: Key, router: Router, prefixes: list[tuple[Key, str]]) -> None:
        """Record what is wrong with a router's static routes; `prefixes`: of the networks that it is on."""
        seen: dict[tuple[str, str], int] = {}
        default = self.view.spec(ExternalNetwork, default_network(router, self.view, ipv6=True))
        for at, route in enumerate(router.routes):
            if not route.is_ipv6:
                continue
            to, via = Place(key, ("routes", at, "to")), Place(key, ("routes", at, "via"))
            there, prefix = next(((each, of) for each, of in prefixes if is_within(route.via, of)), (key, ""))
            if not prefix:
                shown = ", ".join(f"{each} {of}" for each, of in prefixes[:_SHOWN])
                more = f" and {len(prefixes) - _SHOWN} more" if len(prefixes) > _SHOWN else ""
                hint = f"it is on {shown}{more}" if shown else "give a network of the router a cidr6"
                message = f"route via {route.via} leads nowhere: no network of the router has that address"
                self.found.problem(message, via, *(Place(each, ("cidr6",)) for each, _ in prefixes), hint=hint)
            elif self._is_own(key, router, there, prefix, route.via):
                self.found.problem(f"route via {route.via} is {key}'s own address", via, Place(there, ("cidr6",)))
            if route.to == ANYWHERE6 and default is not None:
                message = f"a default route already leads to the external network's gateway6 {default.gateway6}"
                self.found.problem(message, to, hint="remove this route, or the gateway6 of the ExternalNetwork")
            if seen.setdefault((route.to, route.via), at) != at:
                message = f"the route to {route.to} via {route.via} is given twice"
                self.found.problem(message, to, hint="keep one of them")

    def _is_own(self, key: Key, router: Router, there: Key, prefix: str, address: str) -> bool:
        """Whether a router has an address in a network that it is on."""
        if there.kind == "Network":
            return address == router_address6(prefix)
        external, declared = self.view.spec(ExternalNetwork, there.name), self.view.get(key)
        legs = legs_of(declared) if declared and external else ()
        return any(
            external and leg.network == there.name and leg_address6(leg, router, external) == address for leg in legs
        )

    def check_segment(self, there: frozenset[Key], where: str) -> None:
        """Record external networks of one VLAN that have the same prefix."""
        found = [(key, self.view.spec(ExternalNetwork, key.name)) for key in sorted(there)]
        self._same_prefix([(key, spec.cidr6) for key, spec in found if spec], f"both are on {where}")

    def _same_prefix(self, prefixes: list[tuple[Key, str | None]], why: str, *more: Key) -> None:
        first: dict[str, Key] = {}
        for key, prefix in prefixes:
            other = first.setdefault(prefix, key) if prefix else key
            if other != key:
                places = self.found.blamed_first(Place(key, ("cidr6",)), Place(other, ("cidr6",)))
                known = places[1].key
                message = f"{prefix} is already the prefix of {known}{self.found.line_note(known)}; {why}"
                self.found.problem(message, *places, *map(Place, more))

    def _lacks_prefix(self, key: Key, path: Path, space: Key) -> None:
        hint = f"give {space} a cidr6, or leave {path[-1]} out"
        self.found.problem(f"{space} has no IPv6 addresses", Place(key, path), Place(space, ("cidr6",)), hint=hint)

    def _address(
        self, key: Key, address: str, prefix: str, space: Key, path: Path, *, beside: frozenset[str] = frozenset()
    ) -> None:
        place = Place(key, path)
        if not is_within(address, prefix):
            self.found.problem(f"{address} is outside {space} ({prefix})", place, Place(space, ("cidr6",)))
            return
        if not is_for_hosts(address):
            derived = derived_address6(prefix, _EXAMPLE_MAC)
            hint = f"nor the prefix itself, nor one with ff:fe in the middle, such as {derived}: those follow from MACs"
            self.found.problem(f"{address} may not be chosen", place, hint=hint)
            return
        claimants = self.view.address_owners(space, number6(address))
        owners = {owner for owner in claimants if owner == key or owner.kind not in beside}
        if len(owners) > 1 and (first := self.found.first_of(owners)) != key:
            message = f"{address} is already used by {first}{self.found.line_note(first)}"
            self.found.problem(message, place, Place(space), hint="choose another address")
