"""Which router leads from an external network to a port: what floating IPs and load balancers stand on.

It must never say why there is none: that is for admission to explain.
"""

from __future__ import annotations

from ovenbird.model.objects import Network, Port, Router
from ovenbird.plan.inventory import InventoryView


def router_between(external: str, port: str, inventory: InventoryView) -> str | None:
    """Return the router of the port's network if it has a leg into that ExternalNetwork, else None."""
    spec = inventory.spec(Port, port)
    network = inventory.spec(Network, spec.network) if spec else None
    router = inventory.spec(Router, network.router) if network else None
    if network is None or router is None or all(leg.network != external for leg in router.externals):
        return None
    return network.router
