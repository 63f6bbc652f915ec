"""What admission asks of each object, given everything else as it would be.

Rules of what leads inward are in `admission_inward.py`, those among the networks of one router or one physical network
in `admission_topology.py`.
Each check records what is wrong in `Findings` and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from ovenbird.model.addresses import (
    GENEVE_OVERHEAD_BYTES,
    Subnet,
    format_address,
    geneve_mtu,
    parse_address,
    parse_range,
    parse_subnet,
)
from ovenbird.model.explain import did_you_mean
from ovenbird.model.objects import (
    Declared,
    ExternalNetwork,
    FloatingIP,
    Key,
    LoadBalancer,
    Network,
    Port,
    Router,
    RouterExternal,
)
from ovenbird.plan.admission_addresses import AddressChecks
from ovenbird.plan.admission_inward import InwardChecks
from ovenbird.plan.admission_ipv6 import Ipv6Checks
from ovenbird.plan.compile_context import is_tunnelled
from ovenbird.plan.findings import Findings, Place
from ovenbird.plan.inventory import InventoryView


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """The rules of single objects."""

    view: InventoryView
    found: Findings
    physnets: frozenset[str]
    underlay_mtu: int

    def check(self, declared: Declared) -> None:
        """Record everything that is wrong with one object."""
        match declared.spec:
            case ExternalNetwork() as external:
                self._external(declared.key, external)
            case Network() as network:
                self._network(declared.key, network)
                self.ipv6.check_network(declared.key, network)
            case Router() as router:
                self._router(declared, router)
            case Port() as port:
                self._port(declared, port)
            case FloatingIP() as floating:
                self.inward.check_floating_ip(declared, floating)
                self.ipv6.check_floating_ip(declared.key, floating)
            case LoadBalancer() as balancer:
                self.inward.check_load_balancer(declared, balancer)
                self.ipv6.check_load_balancer(declared.key, balancer)

    @property
    def addresses(self) -> AddressChecks:
        """The rules of addresses."""
        return AddressChecks(view=self.view, found=self.found)

    @property
    def ipv6(self) -> Ipv6Checks:
        """The rules of IPv6."""
        return Ipv6Checks(view=self.view, found=self.found)

    @property
    def inward(self) -> InwardChecks:
        """The rules of what leads inward."""
        return InwardChecks(view=self.view, found=self.found, addresses=self.addresses)

    def _twin(self, key: Key, other: str) -> None:
        """Refuse one name for both kinds of network: their ports on a router would have the same name in OVN."""
        if self.view.get(Key(other, key.name)):
            hint = "networks and external networks share their names"
            self.found.problem(f"there is {Key(other, key.name)} already", Place(key), hint=hint)

    def _external(self, key: Key, spec: ExternalNetwork) -> None:
        self._twin(key, "Network")
        self._physnet(key, spec.physnet)
        subnet = parse_subnet(spec.cidr)
        if spec.gateway:
            self._gateway(key, spec.gateway, subnet)
        for at, text in enumerate(spec.pool):
            first, last = parse_range(text)
            if first < subnet.first or last > subnet.last:
                usable = f"{format_address(subnet.first)}-{format_address(subnet.last)}"
                hint = f"hosts in {subnet} may have {usable}"
                self.found.problem(f"pool {text} reaches outside {subnet}", Place(key, ("pool", at)), hint=hint)

    def _network(self, key: Key, spec: Network) -> None:
        self._twin(key, "ExternalNetwork")
        subnet = parse_subnet(spec.cidr)
        if spec.gateway:
            self._gateway(key, spec.gateway, subnet)
        else:
            self.addresses.taken(key, subnet.first, Place(key, ("cidr",)))
        if spec.router and not self.view.get(Key("Router", spec.router)):
            self.found.missing(Key("Router", spec.router), Place(key, ("router",)))
        if spec.physnet is not None:
            self._physnet(key, spec.physnet)
        greatest = geneve_mtu(self.underlay_mtu)
        router = self.view.spec(Router, spec.router) if spec.router else None
        if spec.mtu and spec.mtu > greatest and is_tunnelled(spec, router):
            message = (
                f"mtu {spec.mtu} plus Geneve's {GENEVE_OVERHEAD_BYTES} does not fit the underlay's {self.underlay_mtu}"
            )
            self.found.problem(message, Place(key, ("mtu",)), hint=f"at most {greatest}; leave mtu out to get that")

    def _physnet(self, key: Key, physnet: str) -> None:
        if physnet not in self.physnets:
            hint = did_you_mean(physnet, self.physnets) or "no host has an uplink in cluster.yaml"
            known = f"; hosts have uplinks to: {', '.join(sorted(self.physnets))}" if self.physnets else ""
            self.found.problem(f"unknown physnet {physnet!r}{known}", Place(key, ("physnet",)), hint=hint)

    def _gateway(self, key: Key, gateway: str, subnet: Subnet) -> None:
        place = Place(key, ("gateway",))
        if self.addresses.usable(gateway, subnet, "the network", place, Place(key, ("cidr",))):
            self.addresses.taken(key, parse_address(gateway), place)

    def _router(self, declared: Declared, spec: Router) -> None:
        addresses = (declared.assigned.address, *declared.assigned.others)
        for at, leg in enumerate(spec.externals):
            path = ("external",) if at == 0 else ("further", at - 1)
            self._leg(declared, leg, path, addresses[at] if at < len(addresses) else "")
            self.ipv6.check_leg(declared.key, spec, leg, path)
        if spec.externals:
            self.addresses.mac(declared)

    def _leg(self, declared: Declared, leg: RouterExternal, path: tuple[str | int, ...], address: str) -> None:
        key, space = declared.key, Key("ExternalNetwork", leg.network)
        leads_to = self.view.spec(ExternalNetwork, leg.network)
        if not leads_to:
            self.found.missing(space, Place(key, (*path, "network")))
            return
        subnet, beside = parse_subnet(leads_to.cidr), frozenset(("LoadBalancer",))
        self.addresses.check(declared, space, subnet, (*path, "address"), beside=beside, address=address)
        if address:
            self.inward.check_router_address(key, leg.network, address)

    def _port(self, declared: Declared, spec: Port) -> None:
        network = self.view.spec(Network, spec.network)
        if not network:
            self.found.missing(Key("Network", spec.network), Place(declared.key, ("network",)))
        elif declared.assigned.address:
            space = Key("Network", spec.network)
            self.addresses.check(declared, space, parse_subnet(network.cidr), ("address",))
        if declared.assigned.mac or spec.mac:
            self.addresses.mac(declared)
