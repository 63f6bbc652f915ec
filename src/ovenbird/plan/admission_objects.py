"""What admission asks of each object, given everything else as it would be: references, addresses, MACs.

Rules among the networks of one router or one physical network are in `admission_topology.py`.
Each check records what is wrong in `Findings` and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from ovenbird.model.addresses import (
    GENEVE_OVERHEAD_BYTES,
    Subnet,
    format_address,
    geneve_mtu,
    outside,
    parse_address,
    parse_range,
    parse_subnet,
)
from ovenbird.model.explain import did_you_mean
from ovenbird.model.objects import Declared, ExternalNetwork, FloatingIP, Key, Network, Port, Router
from ovenbird.plan.allocation import pool_of
from ovenbird.plan.findings import Findings, Place
from ovenbird.plan.inventory import InventoryView, claimed_mac


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
            case Router() as router:
                self._router(declared, router)
            case Port() as port:
                self._port(declared, port)
            case FloatingIP() as floating:
                self._floating(declared, floating)

    def _twin(self, key: Key, other: str) -> None:
        """Refuse one name for both kinds of network: their ports on a router would have the same name in OVN."""
        if self.view.get(Key(other, key.name)):
            hint = "networks and external networks share their names"
            self.found.problem(f"there is {Key(other, key.name)} already", Place(key), hint=hint)

    def _external(self, key: Key, spec: ExternalNetwork) -> None:
        self._twin(key, "Network")
        if spec.physnet not in self.physnets:
            hint = did_you_mean(spec.physnet, self.physnets) or "no host has an uplink in cluster.yaml"
            known = f"; hosts have uplinks to: {', '.join(sorted(self.physnets))}" if self.physnets else ""
            self.found.problem(f"unknown physnet {spec.physnet!r}{known}", Place(key, ("physnet",)), hint=hint)
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
            self._taken(key, subnet.first, Place(key, ("cidr",)))
        if spec.router and not self.view.get(Key("Router", spec.router)):
            self.found.missing(Key("Router", spec.router), Place(key, ("router",)))
        greatest = geneve_mtu(self.underlay_mtu)
        if spec.mtu and spec.mtu > greatest:
            message = (
                f"mtu {spec.mtu} plus Geneve's {GENEVE_OVERHEAD_BYTES} does not fit the underlay's {self.underlay_mtu}"
            )
            self.found.problem(message, Place(key, ("mtu",)), hint=f"at most {greatest}; leave mtu out to get that")

    def _gateway(self, key: Key, gateway: str, subnet: Subnet) -> None:
        place = Place(key, ("gateway",))
        if self._usable(gateway, subnet, "the network", place, Place(key, ("cidr",))):
            self._taken(key, parse_address(gateway), place)

    def _router(self, declared: Declared, spec: Router) -> None:
        key, external = declared.key, spec.external
        if not external:
            return
        space = Key("ExternalNetwork", external.network)
        leads_to = self.view.spec(ExternalNetwork, external.network)
        if not leads_to:
            self.found.missing(space, Place(key, ("external", "network")))
            return
        self._address(declared, space, parse_subnet(leads_to.cidr), ("external", "address"))
        self._mac(declared)

    def _port(self, declared: Declared, spec: Port) -> None:
        space = Key("Network", spec.network)
        network = self.view.spec(Network, spec.network)
        if network:
            self._address(declared, space, parse_subnet(network.cidr), ("address",))
        else:
            self.found.missing(space, Place(declared.key, ("network",)))
        self._mac(declared)

    def _floating(self, declared: Declared, spec: FloatingIP) -> None:
        key, space = declared.key, Key("ExternalNetwork", spec.network)
        external = self.view.spec(ExternalNetwork, spec.network)
        if external:
            self._address(declared, space, parse_subnet(external.cidr), ("address",))
            self._in_pool(key, spec, external)
        else:
            self.found.missing(space, Place(key, ("network",)))
        port = self.view.spec(Port, spec.port)
        if not port:
            self.found.missing(Key("Port", spec.port), Place(key, ("port",)))
            return
        others = [user for user in self.view.users(Key("Port", spec.port)) if user.kind == "FloatingIP"]
        first = self.found.first_of(others)
        if first != key:
            message = f"Port/{spec.port} already has {first}{self.found.line_note(first)}"
            self.found.problem(message, Place(key, ("port",)), hint="a port has at most one floating IP")
        if external:
            self._reaches(key, spec, port)

    def _in_pool(self, key: Key, spec: FloatingIP, external: ExternalNetwork) -> None:
        if not spec.address or not outside(pool_of(external), parse_address(spec.address)):
            return
        message = f"{spec.address} is outside the pool of ExternalNetwork/{spec.network}"
        hint = f"choose one of {', '.join(map(str, pool_of(external)))}, or widen the pool"
        self.found.problem(message, Place(key, ("address",)), hint=hint)

    def _reaches(self, key: Key, spec: FloatingIP, port: Port) -> None:
        """Check that the port's router leads to the floating IP's external network."""
        network = self.view.spec(Network, port.network)
        router = self.view.spec(Router, network.router) if network else None
        if not network or (network.router and not router):
            return  # said already where the reference is
        at_port, at_network = Place(key, ("port",)), Place(Key("Network", port.network), ("router",))
        moved = Place(Key("Port", spec.port), ("network",))
        if not router:
            message = f"Port/{spec.port} is in Network/{port.network}, which is attached to no router"
            hint = f"set 'router' of Network/{port.network} to one that leads to ExternalNetwork/{spec.network}"
            self.found.problem(message, at_port, moved, at_network, hint=hint)
            return
        leads_to = router.external.network if router.external else None
        if leads_to != spec.network:
            where = f"leads to {leads_to!r}, not to {spec.network!r}" if leads_to else "has no external network"
            message = f"Port/{spec.port} is behind Router/{network.router}, which {where}"
            hint = f"take the address from {leads_to!r}" if leads_to else f"give Router/{network.router} 'external'"
            at_router = Place(Key("Router", network.router or ""), ("external", "network"))
            self.found.problem(message, at_port, moved, at_network, at_router, hint=hint)

    def _address(self, declared: Declared, space: Key, subnet: Subnet, path: tuple[str, ...]) -> None:
        address = declared.assigned.address
        if not address:
            return
        place = Place(declared.key, path)
        if self._usable(address, subnet, str(space), place, Place(space, ("cidr",))):
            self._taken(declared.key, parse_address(address), place, space)

    def _usable(self, address: str, subnet: Subnet, owner: str, *places: Place) -> bool:
        number = parse_address(address)
        usable = f"{format_address(subnet.first)}-{format_address(subnet.last)}"
        if number not in subnet:
            self.found.problem(f"{address} is outside {owner} ({subnet})", *places, hint=f"choose one of {usable}")
        elif not subnet.first <= number <= subnet.last:
            what = "network" if number == subnet.base else "broadcast"
            message = f"{address} is the {what} address of {subnet}"
            self.found.problem(message, *places, hint=f"choose one of {usable}")
        else:
            return True
        return False

    def _taken(self, key: Key, number: int, place: Place, space: Key | None = None) -> None:
        owners = self.view.address_owners(space or key, number)
        if len(owners) < 2 or (first := self.found.first_of(owners)) == key:
            return
        address = format_address(number)
        if space is None:
            message = f"gateway {address} is already used by {first}{self.found.line_note(first)}"
        elif first == space:
            message = f"{address} is the gateway of {first}"
        else:
            message = f"{address} is already used by {first}{self.found.line_note(first)}"
        hint = "choose another address, or leave it out to get a free one"
        self.found.problem(message, place, Place(space or key), hint=hint)

    def _mac(self, declared: Declared) -> None:
        mac = claimed_mac(declared)
        owners = self.view.mac_owners(mac) if mac else frozenset()
        if len(owners) > 1 and (first := self.found.first_of(owners)) != declared.key:
            message = f"MAC {mac} is already used by {first}{self.found.line_note(first)}"
            hint = "a MAC is unique in the cluster; leave it out to get one"
            self.found.problem(message, Place(declared.key, ("mac",)), hint=hint)
