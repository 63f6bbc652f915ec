"""Through which leg of an active-active router something is answered: policies that keep replies on the way they came.

A floating IP is translated on one gateway router, where its connections are tracked; a reply that ECMP sent over
another would leave with the wrong address. OVN 23.03 replies symmetrically only on gateway routers themselves
(ovn-nb(5), ecmp_symmetric_reply), so the distributed router sends what comes from such a port over the leg that has its
address. Traffic to the router's own networks stays inside: a policy of greater priority lets it pass for each of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from ovenbird.model.objects import Declared, Key, LoadBalancer, Router
from ovenbird.plan import compile_names as names
from ovenbird.plan.index_terms import target_ports
from ovenbird.plan.inventory import InventoryView
from ovenbird.plan.legs import Leg, is_pinned, legs_of, legs_wanted
from ovenbird.plan.reach import router_between
from ovenbird.plan.rows import OWNER, NbRow, Parent, row_uuid
from ovenbird.plan.transit import transit_address

_STAYS_INSIDE, _PINNED = 2000, 1000
"""Priorities; the greater one is looked at first."""


def inward_leg(router: Declared, port: str) -> Leg | None:
    """Return the leg that a port's floating IP is on; the same as long as the router has as many legs."""
    legs = tuple(legs_of(router))
    return legs[int(row_uuid("Leg", port)[:8], 16) % len(legs)] if legs else None


def floating_ip_pin(declared: Declared, router: Declared, port: Declared) -> Iterator[NbRow]:
    """Yield the policy that sends a port's replies back over the leg of its floating IP."""
    leg = inward_leg(router, port.name)
    if leg is not None and _has_several(router):
        yield _pin(declared, router.name, port, leg)


def load_balancer_pins(declared: Declared, spec: LoadBalancer, inventory: InventoryView) -> Iterator[NbRow]:
    """Yield the policies that send the targets' replies over the first leg, which has load balancers' addresses."""
    for name in target_ports(spec):
        router_name = router_between(spec.network, name, inventory)
        router = inventory.get(Key("Router", router_name)) if router_name else None
        port = inventory.get(Key("Port", name))
        if router is not None and port is not None and port.assigned.address and _has_several(router):
            yield _pin(declared, router.name, port, next(legs_of(router)))


def inside_row(declared: Declared, router: Declared, cidr: str) -> Iterator[NbRow]:
    """Yield the policy that keeps traffic to addresses behind the router inside."""
    if _has_several(router):
        columns = {
            "priority": _STAYS_INSIDE,
            "match": f"ip4.dst == {cidr}",
            "action": "allow",
            "nexthops": frozenset[str](),
        }
        yield _policy(declared, router.name, f"{router.name} inside {cidr}", columns)


def _has_several(router: Declared) -> bool:
    return isinstance(router.spec, Router) and is_pinned(router.spec) and legs_wanted(router.spec) > 1


def _pin(declared: Declared, router: str, port: Declared, leg: Leg) -> NbRow:
    columns = {
        "priority": _PINNED,
        "match": f"ip4.src == {port.assigned.address}",
        "action": "reroute",
        "nexthops": frozenset((transit_address(leg.number),)),
    }
    return _policy(declared, router, f"{declared.key} {port.name}", columns)


def _policy(declared: Declared, router: str, identity: str, columns: dict[str, object]) -> NbRow:
    return NbRow(
        "Logical_Router_Policy",
        row_uuid("Logical_Router_Policy", identity),
        {**columns, "external_ids": {OWNER: str(declared.key)}},
        declared.key,
        Parent("Logical_Router", names.logical_router(router), "policies"),
    )
