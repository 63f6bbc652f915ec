"""Which IPv6 addresses declared objects have: functions of prefixes and MACs, so that nothing is assigned. Pure."""

from __future__ import annotations

from ovenbird.model.addresses6 import derived_address6
from ovenbird.model.objects import Declared, ExternalNetwork, FloatingIP, LoadBalancer, Network, Port, Router
from ovenbird.plan.inventory import InventoryView
from ovenbird.plan.legs import Leg, inward_leg, leg_networks, legs_of


def leg_address6(leg: Leg, spec: Router, external: ExternalNetwork) -> str:
    """Return a leg's address in its external network, "" if it has none.

    Of several legs into one network the first has the address that was asked for, as with IPv4.
    """
    if external.cidr6 is None:
        return ""
    asked = next((each.address6 for each in spec.externals if each.network == leg.network), None)
    if asked and leg.network not in leg_networks(spec)[: leg.number - 1]:
        return asked
    return derived_address6(external.cidr6, leg.mac)


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


def translated_addresses6(router: Declared, leg: Leg, view: InventoryView) -> list[str]:
    """Return the addresses of floating IPs and load balancers that a router's leg answers for, in order."""
    found: set[str] = set()
    for each in (*view.floating_ips_of(router.name), *view.load_balancers_of(router.name)):
        match each.spec:
            case FloatingIP(address6=str() as address, distributed=False) as spec:
                own = inward_leg(router, spec.port) if leg.pinned else leg
            case LoadBalancer(address6=str() as address) as spec:
                own = next(legs_of(router))
            case _:
                continue
        if own == leg and spec.network == leg.network:
            found.add(address)
    return sorted(found)


def announced6(declared: Declared, leg: Leg, own: str, view: InventoryView) -> str:
    """Return "MAC ADDRESS...", what a leg answers for by IPv6, its own address first."""
    return " ".join((leg.mac, own, *translated_addresses6(declared, leg, view)))
