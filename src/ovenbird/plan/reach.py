"""What leads to a port: the router from an external network, and the physical networks that its host must be on.

Floating IPs and load balancers stand on the first. It must never say why there is none: that is for admission.
"""

from __future__ import annotations

from collections.abc import Iterator

from ovenbird.model.objects import ExternalNetwork, Network, Port, Router
from ovenbird.plan.compile_context import is_bridged
from ovenbird.plan.inventory import InventoryView


def router_between(external: str, port: str, inventory: InventoryView) -> str | None:
    """Return the router of the port's network if it has a leg into that ExternalNetwork, else None."""
    spec = inventory.spec(Port, port)
    network = inventory.spec(Network, spec.network) if spec else None
    router = inventory.spec(Router, network.router) if network else None
    if network is None or router is None or all(leg.network != external for leg in router.externals):
        return None
    return network.router


def uplinks_needed(port: str, inventory: InventoryView) -> Iterator[tuple[str, str]]:
    """Yield the physical networks that a port's host must have an uplink to, each with the reason."""
    spec = inventory.spec(Port, port)
    network = inventory.spec(Network, spec.network) if spec else None
    if spec is None or network is None or network.physnet is None:
        return
    yield network.physnet, f"Network/{spec.network} is VLAN {network.vlan} of {network.physnet}"
    router = inventory.spec(Router, network.router) if network.router else None
    if router is not None and router.external is not None and is_bridged(router):
        external = inventory.spec(ExternalNetwork, router.external.network)
        if external is not None and external.physnet != network.physnet:
            yield external.physnet, f"Router/{network.router} hands its gateway what leaves over {external.physnet}"
