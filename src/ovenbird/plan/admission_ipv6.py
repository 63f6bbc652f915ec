"""What admission asks of IPv6: addresses inside their prefixes and nobody else's, and routers that IPv6 passes.

Each check records what is wrong in `Findings` and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from ovenbird.model.addresses6 import derived_address6, is_for_hosts, is_within, number6
from ovenbird.model.objects import ExternalNetwork, FloatingIP, Key, Network, Port, Router, RouterExternal
from ovenbird.plan.compile_further import default_network
from ovenbird.plan.findings import Findings, Place
from ovenbird.plan.inventory import InventoryView
from ovenbird.plan.legs import is_pinned
from ovenbird.plan.reach import router_between

_EXAMPLE_MAC = "0a:12:34:56:78:9a"
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
        if is_pinned(spec):
            message = f'{asked[0][-1]} has no meaning with mode "{spec.gateways.mode}": IPv6 passes no gateway router'
            self.found.problem(message, Place(key, asked[0]), Place(key, ("gateways", "mode")))
        elif external.cidr6 is None:
            self._lacks_prefix(key, asked[0], Key("ExternalNetwork", leg.network))
        elif leg.address6:
            self._address(key, leg.address6, external.cidr6, Key("ExternalNetwork", leg.network), (*path, "address6"))

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
            message = f"address6 leads nowhere: Port/{spec.port} has no IPv6 address"
            hint = f"give Network/{port.network} a cidr6"
            self.found.problem(message, Place(key, path), Place(Key("Network", port.network), ("cidr6",)), hint=hint)
        name = router_between(spec.network, spec.port, self.view)
        router = self.view.spec(Router, name) if name else None
        if router is None:
            return  # which is told by the rules of floating IPs
        there = Place(Key("Router", str(name)), ("gateways", "mode"))
        if is_pinned(router):
            message = f'Router/{name} has mode "{router.gateways.mode}": IPv6 passes no gateway router'
            self.found.problem(
                message, Place(key, path), there, hint='use mode "active-standby", or leave address6 out'
            )
        elif router.further and default_network(router, self.view, ipv6=True) != spec.network:
            message = f"answers would leave another way: Router/{name} has its IPv6 default route elsewhere"
            hint = "take address6 from the first of the router's external networks that has a gateway6"
            self.found.problem(message, Place(key, path), there, hint=hint)

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
        if is_pinned(router) and (inside := next((there for there, spec in networks if spec.cidr6), None)):
            message = (
                f'IPv6 stays inside: {key} has mode "{router.gateways.mode}", whose gateway routers it does not pass'
            )
            self.found.warn(message, Place(inside, ("cidr6",)), Place(key, ("gateways", "mode")))

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

    def _address(self, key: Key, address: str, prefix: str, space: Key, path: Path) -> None:
        place = Place(key, path)
        if not is_within(address, prefix):
            self.found.problem(f"{address} is outside {space} ({prefix})", place, Place(space, ("cidr6",)))
            return
        if not is_for_hosts(address):
            derived = derived_address6(prefix, _EXAMPLE_MAC)
            hint = f"nor the prefix itself, nor one with ff:fe in the middle, such as {derived}: those follow from MACs"
            self.found.problem(f"{address} may not be chosen", place, hint=hint)
            return
        owners = self.view.address_owners(space, number6(address))
        if len(owners) > 1 and (first := self.found.first_of(owners)) != key:
            message = f"{address} is already used by {first}{self.found.line_note(first)}"
            self.found.problem(message, place, Place(space), hint="choose another address")
