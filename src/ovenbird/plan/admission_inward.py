"""What admission asks of addresses that lead from an external network inward to ports: floating IPs, load balancers.

Each check records what is wrong in `Findings` and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from ovenbird.model.addresses import outside, parse_address, parse_subnet
from ovenbird.model.addresses6 import number6
from ovenbird.model.objects import Declared, ExternalNetwork, FloatingIP, Key, LoadBalancer, Network, Port, Router
from ovenbird.plan.admission_addresses import AddressChecks
from ovenbird.plan.allocation import pool_of
from ovenbird.plan.findings import Findings, Place
from ovenbird.plan.index_terms import target_ports
from ovenbird.plan.inventory import InventoryView
from ovenbird.plan.reach import router_between

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class InwardChecks:
    """The rules of floating IPs and load balancers."""

    view: InventoryView
    found: Findings
    addresses: AddressChecks

    def check_floating_ip(self, declared: Declared, spec: FloatingIP) -> None:
        """Record everything that is wrong with a floating IP."""
        key = declared.key
        self._own_address(declared, spec)
        port = self.view.spec(Port, spec.port)
        if not port:
            self.found.missing(Key("Port", spec.port), Place(key, ("port",)))
            return
        users = self.view.users(Key("Port", spec.port))
        first = self.found.first_of(user for user in users if user.kind == "FloatingIP")
        if first != key:
            message = f"Port/{spec.port} already has {first}{self.found.line_note(first)}"
            self.found.problem(message, Place(key, ("port",)), hint="a port has at most one floating IP")
        self._reached(key, ("port",), spec.network, spec.port, port)
        for user in sorted(users):
            if user.kind == "LoadBalancer":
                self._past_gateway(user, (), spec.port)

    def check_load_balancer(self, declared: Declared, spec: LoadBalancer) -> None:
        """Record everything that is wrong with a load balancer."""
        key = declared.key
        self._own_address(declared, spec)
        listening: dict[int, int] = {}
        for at, listener in enumerate(spec.ports):
            if listening.setdefault(listener.port, at) != at:
                message = f"{spec.protocol} port {listener.port} is given twice"
                hint = "give all its targets in one place"
                self.found.problem(message, Place(key, ("ports", at, "port")), hint=hint)
        self._targets(key, spec)
        self._sharing(declared, spec)
        self._one_leg(key, spec)

    def _own_address(self, declared: Declared, spec: FloatingIP | LoadBalancer) -> None:
        key, space = declared.key, Key("ExternalNetwork", spec.network)
        external = self.view.spec(ExternalNetwork, spec.network)
        if not external:
            self.found.missing(space, Place(key, ("network",)))
            return
        # Whether it may share the address with these very ones is judged by `_sharing`.
        beside = frozenset(("LoadBalancer", "Router") if isinstance(spec, LoadBalancer) else ())
        self.addresses.check(declared, space, parse_subnet(external.cidr), ("address",), beside=beside)
        if (
            spec.address
            and not self._is_routers(declared, spec)
            and outside(pool_of(external), parse_address(spec.address))
        ):
            message = f"{spec.address} is outside the pool of {space}"
            hint = f"choose one of {', '.join(map(str, pool_of(external)))}, or widen the pool"
            self.found.problem(message, Place(key, ("address",)), hint=hint)

    def _is_routers(self, declared: Declared, spec: FloatingIP | LoadBalancer) -> bool:
        """Whether an address is its router's own, which need not be of the pool."""
        if not isinstance(spec, LoadBalancer) or not declared.assigned.address:
            return False
        owners = self.view.address_owners(
            Key("ExternalNetwork", spec.network), parse_address(declared.assigned.address)
        )
        return any(owner.kind == "Router" for owner in owners)

    # Load balancers.

    def _targets(self, key: Key, spec: LoadBalancer) -> None:
        """Check that every target is there once, behind one and the same router, and answers through its gateway."""
        first: tuple[str, str] | None = None
        for path, name, is_repeated in _targets_of(spec):
            port = self.view.spec(Port, name)
            if not port:
                self.found.missing(Key("Port", name), Place(key, path))
                continue
            if is_repeated:
                self.found.problem(f"Port/{name} is given twice as a target", Place(key, path), hint="keep one of them")
            router = self._reached(key, path, spec.network, name, port)
            first = first or ((router, name) if router else None)
            if router and first and first[0] != router:
                message = f"Port/{name} is behind Router/{router}, but Port/{first[1]} is behind Router/{first[0]}"
                hint = "one router carries the address: make a load balancer for each"
                moved = Place(Key("Port", name), ("network",))
                self.found.problem(message, Place(key, path), moved, Place(_network_of(port), ("router",)), hint=hint)
            self._past_gateway(key, path, name)

    def _one_leg(self, key: Key, spec: LoadBalancer) -> None:
        """Refuse routers with several distributed gateway ports: OVN 23.03 has no load balancers there (ovn-nb(5))."""
        name = self._router_of(spec)
        router = self.view.spec(Router, name)
        if name and router and router.further:
            message = f"Router/{name} leads to {len(router.externals)} external networks: OVN cannot balance there"
            hint = f"remove 'further' of Router/{name}, or put the targets behind a router with one external network"
            self.found.problem(
                message, Place(key), Place(Key("Router", name), ("further",)), *self._movable(spec), hint=hint
            )

    def _past_gateway(self, balancer: Key, path: Path, port: str) -> None:
        """Refuse distributed floating IPs of targets: replies would go past the gateway that has to translate them."""
        for user in sorted(self.view.users(Key("Port", port))):
            floating = self.view.spec(FloatingIP, user.name) if user.kind == "FloatingIP" else None
            if floating and floating.distributed and self.found.once("past gateway", balancer, user):
                message = (
                    f"Port/{port} has the distributed {user}{self.found.line_note(user)}: what it answers to clients of"
                    f" {balancer} would leave from its own host, past the gateway that translates it"
                )
                hint = f"set 'distributed: false' in {user}, or take another target"
                at_floating = Place(user, ("distributed",))
                places = (Place(balancer, path), at_floating) if path else (at_floating, Place(balancer))
                self.found.problem(message, *places, Place(user, ("port",)), hint=hint)

    def _sharing(self, declared: Declared, spec: LoadBalancer) -> None:
        """Check that load balancers of one address are of one router, and of different protocols or ports."""
        key, space, address = declared.key, Key("ExternalNetwork", spec.network), declared.assigned.address
        if address:
            owners = self.view.address_owners(space, parse_address(address))
            for router in sorted(owner for owner in owners if owner.kind == "Router"):
                self._sharing_with_router(key, spec, router, address)
            self._sharing_with_others(key, spec, owners, address, ("address",))
        if spec.address6:
            owners = self.view.address_owners(space, number6(spec.address6))
            self._sharing_with_others(key, spec, owners, spec.address6, ("address6",))

    def _sharing_with_others(
        self, key: Key, spec: LoadBalancer, owners: AbstractSet[Key], address: str, path: Path
    ) -> None:
        for other in sorted(owners - {key}):
            theirs = self.view.spec(LoadBalancer, other.name) if other.kind == "LoadBalancer" else None
            if not theirs or self.found.first_of((key, other)) == key:
                continue
            note = self.found.line_note(other)
            mine, its = self._router_of(spec), self._router_of(theirs)
            if mine and its and mine != its:
                message = f"{address} is already used by {other}{note} on Router/{its}, not on Router/{mine}"
                hint = "only load balancers of one router can share an address"
                self.found.problem(message, Place(key, path), *self._movable(spec), hint=hint)
            elif spec.protocol == theirs.protocol:
                taken = {listener.port for listener in theirs.ports}
                for at, listener in enumerate(spec.ports):
                    if listener.port in taken:
                        message = f"{address} {spec.protocol} port {listener.port} is already used by {other}{note}"
                        self.found.problem(message, Place(key, ("ports", at, "port")), hint="choose another port")

    def check_router_address(self, router: Key, external: str, address: str) -> None:
        """Record load balancers that have a router's address and are not on that router."""
        for owner in sorted(self.view.address_owners(Key("ExternalNetwork", external), parse_address(address))):
            if owner.kind == "LoadBalancer" and (spec := self.view.spec(LoadBalancer, owner.name)):
                self._sharing_with_router(owner, spec, router, address)

    def _sharing_with_router(self, key: Key, spec: LoadBalancer, router: Key, address: str) -> None:
        mine = self._router_of(spec)
        if mine in (None, router.name) or not self.found.once("router's address", key, router):
            return
        hint = f"take the address of Router/{mine}, or one that nobody has"
        at_balancer, at_router = Place(key, ("address",)), Place(router, ("external", "address"))
        if self.found.first_of((key, router)) == key:
            message = f"{address} is already used by {key}{self.found.line_note(key)}, which is on Router/{mine}"
            self.found.problem(message, at_router, at_balancer, hint="choose another address")
        else:
            message = f"{address} is the address of {router}, but its targets are behind Router/{mine}"
            self.found.problem(message, at_balancer, *self._movable(spec), at_router, hint=hint)

    def _router_of(self, spec: LoadBalancer) -> str | None:
        routers = (router_between(spec.network, port, self.view) for port in target_ports(spec))
        return next(filter(None, routers), None)

    def _movable(self, spec: LoadBalancer) -> Iterator[Place]:
        """Yield the places besides the load balancer that decide which router it is on."""
        for name in target_ports(spec):
            if port := self.view.spec(Port, name):
                yield Place(Key("Port", name), ("network",))
                yield Place(_network_of(port), ("router",))

    # Both.

    def _reached(self, key: Key, path: Path, external: str, name: str, port: Port) -> str | None:
        """Check that the port's router leads to the external network, and return that router."""
        network = self.view.spec(Network, port.network)
        router = self.view.spec(Router, network.router) if network else None
        if not self.view.spec(ExternalNetwork, external) or not network or (network.router and not router):
            return None  # said already where the reference is
        at_port, at_network = Place(key, path), Place(_network_of(port), ("router",))
        moved = Place(Key("Port", name), ("network",))
        if not router:
            message = f"Port/{name} is in {_network_of(port)}, which is attached to no router"
            hint = f"set 'router' of {_network_of(port)} to one that leads to ExternalNetwork/{external}"
            self.found.problem(message, at_port, moved, at_network, hint=hint)
            return None
        leads_to = [leg.network for leg in router.externals]
        if external not in leads_to:
            told = " and ".join(map(repr, leads_to))
            where = f"leads to {told}, not to {external!r}" if leads_to else "has no external network"
            message = f"Port/{name} is behind Router/{network.router}, which {where}"
            hint = f"take the address from {told}" if leads_to else f"give Router/{network.router} 'external'"
            at_router = Place(Key("Router", network.router or ""), ("external", "network"))
            self.found.problem(message, at_port, moved, at_network, at_router, hint=hint)
            return None
        return network.router


def _targets_of(spec: LoadBalancer) -> Iterator[tuple[Path, str, bool]]:
    """Yield every target's path and port, and whether its listener has it already."""
    for at, listener in enumerate(spec.ports):
        seen: set[tuple[str, int]] = set()
        for position, target in enumerate(listener.targets):
            identity = (target.port, target.target_port or listener.port)
            yield ("ports", at, "targets", position, "port"), target.port, identity in seen
            seen.add(identity)


def _network_of(port: Port) -> Key:
    return Key("Network", port.network)
