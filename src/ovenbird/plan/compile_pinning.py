"""Through which leg of an active-active router something is answered: policies that keep replies on the way they came.

A floating IP is translated on one gateway router, where its connections are tracked; a reply that ECMP sent over
another would leave with the wrong address. OVN 23.03 replies symmetrically only on gateway routers themselves
(ovn-nb(5), ecmp_symmetric_reply), so the distributed router sends what comes from such a port over the leg that has its
address. Traffic to the router's own networks stays inside: a policy of greater priority lets it pass for each of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ovenbird.model.objects import Declared, Key, LoadBalancer, Network, Port, Router
from ovenbird.plan import compile_names as names
from ovenbird.plan.addressing6 import port_address6
from ovenbird.plan.index_terms import target_ports
from ovenbird.plan.inventory import InventoryView
from ovenbird.plan.legs import Leg, inward_leg, is_pinned, legs_of, legs_wanted
from ovenbird.plan.reach import router_between
from ovenbird.plan.rows import OWNER, NbRow, Parent, row_uuid
from ovenbird.plan.transit import transit_address, transit_address6

_STAYS_INSIDE, _PINNED = 2000, 1000
"""Priorities; the greater one is looked at first."""


def floating_ip_pin(declared: Declared, router: Declared, port: str, inside: Iterable[str]) -> Iterator[NbRow]:
    """Yield the policies that send what comes from a port's addresses back over the leg of its floating IP."""
    leg = inward_leg(router, port)
    if leg is not None and _has_several(router):
        for address in inside:
            yield _pin(declared, router.name, port, address, leg)


def load_balancer_pins(declared: Declared, spec: LoadBalancer, inventory: InventoryView) -> Iterator[NbRow]:
    """Yield the policies that send the targets' replies over the first leg, which has load balancers' addresses."""
    for name in target_ports(spec):
        router_name = router_between(spec.network, name, inventory)
        router = inventory.get(Key("Router", router_name)) if router_name else None
        port = inventory.get(Key("Port", name))
        if router is None or port is None or not _has_several(router):
            continue
        for ipv6 in (False, True) if spec.address6 else (False,):
            if address := target_address(port, inventory, ipv6=ipv6):
                yield _pin(declared, router.name, name, address, next(legs_of(router)))


def target_address(port: Declared, inventory: InventoryView, *, ipv6: bool) -> str:
    """Return a port's address of a family, "" if it has none."""
    if not ipv6:
        return port.assigned.address
    network = inventory.spec(Network, port.spec.network) if isinstance(port.spec, Port) else None
    return port_address6(port, network) if network else ""


def inside_row(declared: Declared, router: Declared, cidr: str) -> Iterator[NbRow]:
    """Yield the policy that keeps traffic to addresses behind the router inside."""
    if _has_several(router):
        columns = {
            "priority": _STAYS_INSIDE,
            "match": f"{_ip(cidr)}.dst == {cidr}",
            "action": "allow",
            "nexthops": frozenset[str](),
        }
        yield _policy(declared, router.name, f"{router.name} inside {cidr}", columns)


def _has_several(router: Declared) -> bool:
    return isinstance(router.spec, Router) and is_pinned(router.spec) and legs_wanted(router.spec) > 1


def _pin(declared: Declared, router: str, port: str, address: str, leg: Leg) -> NbRow:
    is_ipv6 = ":" in address
    columns = {
        "priority": _PINNED,
        "match": f"{_ip(address)}.src == {address}",
        "action": "reroute",
        "nexthops": frozenset((transit_address6(leg.number) if is_ipv6 else transit_address(leg.number),)),
    }
    return _policy(declared, router, f"{declared.key} {port} IPv6" if is_ipv6 else f"{declared.key} {port}", columns)


def _ip(text: str) -> str:
    """Return how a match calls the family of an address or network (ovn-sb(5))."""
    return "ip6" if ":" in text else "ip4"


def _policy(declared: Declared, router: str, identity: str, columns: dict[str, object]) -> NbRow:
    return NbRow(
        "Logical_Router_Policy",
        row_uuid("Logical_Router_Policy", identity),
        {**columns, "external_ids": {OWNER: str(declared.key)}},
        declared.key,
        Parent("Logical_Router", names.logical_router(router), "policies"),
    )
