"""Routers with legs into several external networks: which leg the default route has, and how replies find theirs.

A floating IP of a further network is translated at that network's leg only. What its workload sends would follow the
default route and leave at another leg, where nobody knows the connection. So a policy turns it, once it is routed to
the default leg, to the upstream router of its own network. Traffic to anywhere else is not touched by it.

No NAT row names its `gateway_port`: every external address is in its leg's subnet, by which ovn-northd finds the leg,
so a router that gets a second leg keeps the rows of its first as they are.
"""

from __future__ import annotations

from collections.abc import Iterator

from ovenbird.model.objects import Declared, ExternalNetwork, FloatingIP, Router
from ovenbird.plan import compile_names as names
from ovenbird.plan.inventory import InventoryView
from ovenbird.plan.rows import OWNER, NbRow, Parent, row_uuid

_OWN_LEG = 1000
"""Priority."""


def default_network(spec: Router, inventory: InventoryView, *, ipv6: bool = False) -> str | None:
    """Return the first of a router's external networks that has an upstream router: the default route leads there."""
    for leg in spec.externals:
        external = inventory.spec(ExternalNetwork, leg.network)
        if external is not None and (external.gateway6 if ipv6 else external.gateway):
            return leg.network
    return None


def own_leg_policy(
    declared: Declared, spec: FloatingIP, router: Declared, inside: str, inventory: InventoryView
) -> Iterator[NbRow]:
    """Yield the policy of a floating IP in a network that the default route does not lead to.

    `inside` is its port's address.
    """
    external = inventory.spec(ExternalNetwork, spec.network)
    if not isinstance(router.spec, Router) or not router.spec.further or external is None or not external.gateway:
        return
    default = default_network(router.spec, inventory)
    if default is None or default == spec.network:
        return
    yield NbRow(
        "Logical_Router_Policy",
        row_uuid("Logical_Router_Policy", f"{declared.key}"),
        {
            "priority": _OWN_LEG,
            "match": f'ip4.src == {inside} && outport == "{names.router_port(router.name, default)}"',
            "action": "reroute",
            "nexthops": frozenset((external.gateway,)),
            "external_ids": {OWNER: str(declared.key)},
        },
        declared.key,
        Parent("Logical_Router", names.logical_router(router.name), "policies"),
    )
