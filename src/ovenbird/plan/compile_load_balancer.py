"""Rows of a load balancer: one Load_Balancer in the group of its router.

The group hangs on the router, whose active gateway balances what comes from outside, and on the switches of all its
networks, which balance for their own workloads where these run (`compile_router.py`, `compile_network.py`). So a new
network needs no change of any load balancer, and a load balancer none of any network.
"""

from __future__ import annotations

from ovenbird.model.objects import BalancedPort, Declared, Key, LoadBalancer
from ovenbird.plan import compile_names as names
from ovenbird.plan.compile_pinning import load_balancer_pins, target_address
from ovenbird.plan.index_terms import target_ports
from ovenbird.plan.inventory import InventoryView
from ovenbird.plan.reach import router_between
from ovenbird.plan.rows import OWNER, NbRow, Parent, row_uuid

_SAME_CLIENT = frozenset(("ip_src", "ip_dst"))
"""Fields to choose the target by. `options:affinity_timeout` keeps clients together too, but OVN 23.03 loses the first
packet of each client for it (measured), and what it learnt is lost with the gateway."""


def load_balancer_rows(declared: Declared, spec: LoadBalancer, inventory: InventoryView) -> tuple[NbRow, ...]:
    """Return the row of a load balancer, with those of its targets that are behind the router of the first."""
    routers = (router_between(spec.network, port, inventory) for port in target_ports(spec))
    router = next(filter(None, routers), None)
    address = declared.assigned.address
    if router is None or not address:
        return ()
    vips = {
        _socket(outside, listener.port): ",".join(backends)
        for outside in (address, spec.address6)
        for listener in spec.ports
        if outside and (backends := _backends(listener, spec.network, router, inventory, ipv6=":" in outside))
    }
    if not vips:
        return ()
    return (
        NbRow(
            "Load_Balancer",
            row_uuid("Load_Balancer", declared.name),
            {
                "name": declared.name,
                "vips": vips,
                "protocol": spec.protocol,
                "selection_fields": _SAME_CLIENT if spec.affinity == "client" else frozenset(),
                # A UDP client that goes on sending never notices that its target was taken away: its conntrack entry
                # must be flushed. A TCP connection may come to its end on the target that it began with.
                "options": {"ct_flush": "true"} if spec.protocol == "udp" else {},
                "external_ids": {OWNER: str(declared.key)},
            },
            declared.key,
            Parent("Load_Balancer_Group", names.load_balancer_group(router), "load_balancer"),
        ),
        *load_balancer_pins(declared, spec, inventory),
    )


def _backends(listener: BalancedPort, external: str, router: str, inventory: InventoryView, *, ipv6: bool) -> list[str]:
    """Return the targets as "address:port", in the order in which they are declared."""
    found = []
    for target in listener.targets:
        port = inventory.get(Key("Port", target.port))
        address = target_address(port, inventory, ipv6=ipv6) if port else ""
        if address and router_between(external, target.port, inventory) == router:
            found.append(_socket(address, target.target_port or listener.port))
    return found


def _socket(address: str, port: int) -> str:
    """Return an address with a port as ovn-nb(5) has it, Load_Balancer.vips."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
