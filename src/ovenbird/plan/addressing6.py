"""Which IPv6 addresses declared objects have: functions of their prefixes and MACs, so that nothing is assigned. Pure.

IPv6 passes distributed gateway ports only: a leg that is a gateway router has none (docs/limits.md).
"""

from __future__ import annotations

from ovenbird.model.addresses6 import derived_address6
from ovenbird.model.objects import Declared, ExternalNetwork, FloatingIP, Network, Port, Router
from ovenbird.plan.inventory import InventoryView
from ovenbird.plan.legs import Leg, legs_of


def leg_address6(leg: Leg, spec: Router, external: ExternalNetwork) -> str:
    """Return a leg's address in its external network, "" if it has none."""
    if leg.pinned or external.cidr6 is None:
        return ""
    asked = next((each.address6 for each in spec.externals if each.network == leg.network), None)
    return asked or derived_address6(external.cidr6, leg.mac)


def port_address6(port: Declared, network: Network) -> str:
    """Return the address that a workload makes of its network's prefix, "" if it has none."""
    return derived_address6(network.cidr6, port.assigned.mac) if network.cidr6 and port.assigned.mac else ""


def addresses6_of(declared: Declared, view: InventoryView) -> list[str]:
    """Return the IPv6 addresses that nobody wrote down: of a router's legs, or of a port."""
    match declared.spec:
        case Port(network=name):
            network = view.spec(Network, name)
            found = [port_address6(declared, network)] if network else []
        case Router() as spec:
            legs = [(leg, view.spec(ExternalNetwork, leg.network)) for leg in legs_of(declared)]
            found = [leg_address6(leg, spec, external) for leg, external in legs if external]
        case _:
            return []
    return [address for address in found if address]


def translated_addresses6(router: str, network: str, view: InventoryView) -> list[str]:
    """Return the addresses of floating IPs that a router's leg into a network answers for, in order."""
    specs = [each.spec for each in view.floating_ips_of(router)]
    return sorted(
        spec.address6
        for spec in specs
        if isinstance(spec, FloatingIP) and spec.address6 and spec.network == network and not spec.distributed
    )
