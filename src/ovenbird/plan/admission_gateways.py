"""What admission asks of the modes in which gateways carry routers: what a mode cannot do, and what it needs.

Each check records what is wrong in `Findings` and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ovenbird.model.addresses import Subnet, parse_subnet
from ovenbird.model.explain import did_you_mean
from ovenbird.model.objects import (
    Declared,
    ExternalNetwork,
    FloatingIP,
    Key,
    LoadBalancer,
    Network,
    Router,
    RouterGateways,
)
from ovenbird.plan.compile_context import is_bridged
from ovenbird.plan.findings import Findings, Place
from ovenbird.plan.index_terms import target_ports
from ovenbird.plan.inventory import InventoryView
from ovenbird.plan.legs import SEVERAL, SHARED, is_pinned, legs_wanted
from ovenbird.plan.reach import router_between
from ovenbird.plan.transit import TRANSIT

_MODE = ("gateways", "mode")
_REDIRECT = ("gateways", "redirect")
_AGREED = ("count", "zones", "failback", "failback_delay_s")
"""Fields of `gateways` that routers with one common list must have in common."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayChecks:
    """The rules of `gateways`."""

    view: InventoryView
    found: Findings
    zones: frozenset[str] | None = None
    """Availability zones that have a gateway; None: not known."""
    gateways: Mapping[str, int] | None = None
    """Physical network -> hosts with role gateway and an uplink to it; None: not known."""

    def check_all(self, base: InventoryView, changing: Iterable[Key]) -> None:
        """Record what is wrong with modes, and because of them, when these objects change."""
        for bound in sorted({bound for key in changing for bound in _bound(base, self.view, key)}):
            if declared := self.view.get(bound):
                self._check(declared)

    def _check(self, declared: Declared) -> None:
        match declared.spec:
            case Router() as router:
                self._router(declared.key, router)
            case FloatingIP() as floating:
                self._floating_ip(declared.key, floating)

    def _router(self, key: Key, spec: Router) -> None:
        mode = spec.gateways.mode
        if is_bridged(spec):
            self._bridged(key, spec)
        if spec.external is None:
            if mode != RouterGateways().mode:
                hint = "give it 'external', or leave 'gateways' out"
                self.found.problem(
                    f'mode "{mode}" has no meaning without an external leg', Place(key, _MODE), hint=hint
                )
            return
        for at, zone in enumerate(spec.gateways.zones):
            if self.zones is not None and zone not in self.zones:
                there = f"gateways are in: {', '.join(sorted(self.zones))}" if self.zones else "no gateway has a zone"
                hint = did_you_mean(zone, self.zones) or "give hosts a 'zone' in cluster.yaml"
                self.found.problem(
                    f"no gateway is in zone {zone!r}; {there}", Place(key, ("gateways", "zones", at)), hint=hint
                )
        external = self.view.spec(ExternalNetwork, spec.external.network)
        if external is None:
            return
        if is_pinned(spec):
            self._transit(key)
            self._enough(key, spec, external.physnet)
        else:
            for at, leg in enumerate(spec.externals):
                self._stands_by(key, spec, leg.network, ("external",) if at == 0 else ("further", at - 1))
        if mode == SHARED:
            self._agreed(key, spec, external.physnet)

    def _floating_ip(self, key: Key, spec: FloatingIP) -> None:
        name = router_between(spec.network, spec.port, self.view)
        router = self.view.spec(Router, name)
        if router is None or not is_pinned(router):
            return
        mode, place = router.gateways.mode, Place(Key("Router", name or ""), _MODE)
        if spec.distributed:
            self.found.problem(
                f'cannot be distributed: Router/{name} is in mode "{mode}", and OVN translates on the workload\'s own '
                "host only behind a distributed gateway port",
                Place(key, ("distributed",)),
                place,
                hint='leave "distributed" out, or use mode "active-standby" or "shared"',
            )
        balancers = sorted(user for user in self.view.users(Key("Port", spec.port)) if user.kind == "LoadBalancer")
        if mode == SEVERAL and balancers:
            self.found.problem(
                f'Port/{spec.port} is a target of {balancers[0]} as well: in mode "{mode}" its replies can leave '
                "through one gateway only",
                Place(key, ("port",)),
                Place(balancers[0]),
                place,
                hint='remove one of both, or use mode "active-standby"',
            )

    def _bridged(self, key: Key, spec: Router) -> None:
        """Refuse what cannot do without a tunnel."""
        if spec.external is None:
            hint = "give it 'external', or leave 'redirect' out"
            self.found.problem(
                'redirect "bridged" has no meaning without an external leg', Place(key, _REDIRECT), hint=hint
            )
        for each in self.view.networks_of(key.name):
            if isinstance(each.spec, Network) and each.spec.vlan is None:
                message = f'{key} has redirect "bridged", and what comes back to this network needs a tunnel'
                hint = "give the network a 'physnet' and a 'vlan', or leave 'redirect' out"
                self.found.problem(message, Place(each.key, ("vlan",)), Place(key, _REDIRECT), hint=hint)

    def _transit(self, key: Key) -> None:
        """Refuse networks that have the addresses between the router and its gateway routers."""
        transit = _wide(parse_subnet(TRANSIT))
        for each in self.view.networks_of(key.name):
            subnet = parse_subnet(each.spec.cidr) if isinstance(each.spec, Network) else None
            if subnet is not None and subnet.base <= transit[1] and subnet.broadcast >= transit[0]:
                message = f"{subnet} overlaps {TRANSIT}, which {key} needs between itself and its gateway routers"
                self.found.problem(message, Place(each.key, ("cidr",)), Place(key, _MODE), hint="choose another 'cidr'")

    def _enough(self, key: Key, spec: Router, physnet: str) -> None:
        if self.gateways is None:
            return
        there, wanted = self.gateways.get(physnet, 0), legs_wanted(spec)
        if spec.gateways.mode == SEVERAL and there < wanted:
            message = (
                f"{wanted} gateways are to carry it at the same time, but only {there} with an uplink to {physnet}"
            )
            message += " exist" if there != 1 else " exists"
            hint = f"at most {there}" if there > 1 else 'use mode "active-standby"'
            self.found.problem(message, Place(key, ("gateways", "active")), Place(key, _MODE), hint=hint)
        elif there == 1:
            message = f"only one gateway has an uplink to {physnet}: nobody can take the router over"
            self.found.warn(message, Place(key, _MODE))

    def _stands_by(self, key: Key, spec: Router, network: str, path: tuple[str | int, ...]) -> None:
        """Warn of a leg that nobody can carry, or that nobody can take over."""
        external = self.view.spec(ExternalNetwork, network)
        if self.gateways is None or external is None:
            return
        physnet = external.physnet
        there = self.gateways.get(physnet, 0)
        hint = "give two hosts or more the role gateway and an uplink to it"
        if there == 0:
            message = f"no gateway has an uplink to {physnet}: nothing of {key} gets to ExternalNetwork/{network}"
            self.found.warn(message, Place(key, (*path, "network")), hint=hint)
        elif there == 1 and spec.gateways.count > 1:
            message = f"only one gateway has an uplink to {physnet}: nobody can take {key} over"
            self.found.warn(message, Place(key, (*path, "network")), hint=hint)

    def _agreed(self, key: Key, spec: Router, physnet: str) -> None:
        """Refuse shared routers of one physical network that want different things of their common list."""
        others = {
            each.key
            for each in self.view.of_kind("Router").values()
            if isinstance(each.spec, Router) and self._shares(each.spec, physnet)
        }
        first = self.found.first_of(others | {key})
        leader = self.view.spec(Router, first.name)
        if first == key or leader is None:
            return
        for field in _AGREED:
            mine, theirs = getattr(spec.gateways, field), getattr(leader.gateways, field)
            if mine != theirs:
                message = (
                    f"{field} {_shown(mine)} differs from {_shown(theirs)} of {first}{self.found.line_note(first)}: "
                    f"shared routers on physnet {physnet!r} have one list of gateways"
                )
                hint = "give all of them the same, or one of them a mode of its own"
                self.found.problem(message, Place(key, ("gateways", field)), Place(key, _MODE), hint=hint)

    def _shares(self, spec: Router, physnet: str) -> bool:
        if spec.external is None or spec.gateways.mode != SHARED:
            return False
        external = self.view.spec(ExternalNetwork, spec.external.network)
        return external is not None and external.physnet == physnet


def _bound(base: InventoryView, view: InventoryView, key: Key) -> Iterator[Key]:
    """Yield the routers and floating IPs that a changed object may bring into conflict with a mode."""
    declared, existed = view.get(key), base.get(key) is not None
    match declared.spec if declared else None:
        case Router():
            yield key
            yield from (each.key for each in view.floating_ips_of(key.name)) if existed else ()
        case Network(router=str() as router):
            yield Key("Router", router)
            yield from (user for port in view.users(key) for user in view.users(port)) if existed else ()
        case FloatingIP():
            yield key
        case LoadBalancer() as balancer:
            yield from (user for port in target_ports(balancer) for user in view.users(Key("Port", port)))


def _wide(transit: Subnet) -> tuple[int, int]:
    """Return the first and last of the addresses that are used beside a transit network as well."""
    return transit.base, transit.broadcast + 16


def _shown(value: object) -> str:
    return "(not given)" if value is None else str(value)
