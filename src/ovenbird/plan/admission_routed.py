"""What admission asks of networks on physical networks that gateways route to, where hosts share no layer 2.

Each check records what is wrong in `Findings` and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ovenbird.model.addresses import parse_address, parse_subnet
from ovenbird.model.cluster import Cluster
from ovenbird.model.objects import ExternalNetwork, FloatingIP, Key, Network, Router
from ovenbird.plan.compile_context import is_bridged
from ovenbird.plan.findings import Findings, Place
from ovenbird.plan.inventory import InventoryView


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedPhysnets:
    """What the cluster's description says of them."""

    names: frozenset[str] = frozenset()
    taken: Mapping[str, str] = field(default_factory=dict)
    """Address of a host or a neighbor -> whose it is."""


def routed_physnets(cluster: Cluster) -> RoutedPhysnets:
    """Return what admission needs of a cluster's description."""
    taken = {host.address: f"host {host.name}" for host in cluster.hosts}
    for host in cluster.hosts:
        for neighbor in host.bgp.neighbors if host.bgp is not None else ():
            taken[neighbor.address] = f"the BGP neighbor of {host.name}"
    return RoutedPhysnets(names=cluster.routed, taken=taken)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedChecks:
    """The rules of routed physical networks."""

    view: InventoryView
    found: Findings
    routed: RoutedPhysnets

    def check_all(self, changing: Iterable[Key]) -> None:
        """Record what is wrong with these objects, and with what leads to networks among them."""
        if not self.routed.names:
            return
        for key in sorted({each for one in changing for each in (one, *self._users(one))}):
            declared = self.view.get(key)
            match declared.spec if declared is not None else None:
                case ExternalNetwork() as external if external.physnet in self.routed.names:
                    self._external(key, external)
                case Network(physnet=str() as physnet) if physnet in self.routed.names:
                    message = f"{physnet} is routed: its hosts share no VLAN of it"
                    self._problem(message, Place(key, ("physnet",)), "leave physnet and vlan out: tunnels carry it")
                case Router() as router if is_bridged(router):
                    self._bridged(key, router)
                case FloatingIP(distributed=True) as floating:
                    self._distributed(key, floating)

    def _users(self, key: Key) -> Iterable[Key]:
        return self.view.users(key) if key.kind == "ExternalNetwork" else ()

    def _problem(self, message: str, place: Place, hint: str) -> None:
        self.found.problem(message, place, hint=hint)

    def _external(self, key: Key, spec: ExternalNetwork) -> None:
        if spec.vlan is not None:
            message = f"{spec.physnet} is routed: there is no wire that a VLAN could be on"
            self._problem(message, Place(key, ("vlan",)), "leave vlan out")
        if spec.gateway is None:
            message = f"{spec.physnet} is routed: it needs a 'gateway', an address of its own on every gateway host"
            self._problem(message, Place(key), "give it an address of the network that nothing else has")
        if spec.cidr6 is not None:
            message = f"{spec.physnet} is routed, and gateways tell IPv4 routes only"
            self._problem(message, Place(key, ("cidr6",)), "leave cidr6 out, or use a physical network with uplinks")
        subnet = parse_subnet(spec.cidr)
        for address, owner in sorted(self.routed.taken.items()):
            if parse_address(address) in subnet:
                message = f"{spec.cidr} holds {address}, the address of {owner}: gateways could not reach it any more"
                self._problem(message, Place(key, ("cidr",)), "a network of its own, which nothing else is part of")

    def _bridged(self, key: Key, spec: Router) -> None:
        for leg in spec.externals:
            if (physnet := self._physnet(leg.network)) is not None:
                message = f'redirect "bridged" needs a layer 2 that hosts share, and {physnet} is routed'
                self._problem(message, Place(key, ("gateways", "redirect")), "leave 'redirect' out")

    def _distributed(self, key: Key, spec: FloatingIP) -> None:
        if (physnet := self._physnet(spec.network)) is not None:
            message = f"cannot be distributed: {physnet} is routed, and only gateways tell routes"
            self._problem(message, Place(key, ("distributed",)), "leave 'distributed' out")

    def _physnet(self, network: str) -> str | None:
        """Return the routed physical network that an ExternalNetwork is on."""
        spec = self.view.spec(ExternalNetwork, network)
        return spec.physnet if spec is not None and spec.physnet in self.routed.names else None
