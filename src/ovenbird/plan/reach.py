"""What leads to a port: the router from an external network, and what its host must have.

Floating IPs and load balancers stand on the first. It must never say why there is none: that is for admission.
"""

from __future__ import annotations

from ovenbird.model.cluster import Host, Role
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


def why_not_on(host: Host, port: str, inventory: InventoryView) -> tuple[str, str] | None:
    """Return what keeps a port from working on a host, and why it matters; None when nothing does."""
    spec = inventory.spec(Port, port)
    network = inventory.spec(Network, spec.network) if spec else None
    if spec is None or network is None or network.physnet is None:
        return None
    if network.physnet not in host.uplinks:
        why = f"Network/{spec.network} is VLAN {network.vlan} of {network.physnet}"
        return f"{host.name} has no uplink to {network.physnet}", why
    router = inventory.spec(Router, network.router) if network.router else None
    if router is None or router.external is None or not is_bridged(router):
        return None
    external = inventory.spec(ExternalNetwork, router.external.network)
    why = f'Router/{network.router} has redirect "bridged"'
    if external is not None and external.physnet not in host.uplinks:
        return f"{host.name} has no uplink to {external.physnet}", f"{why}: what leaves goes to its gateway there"
    if Role.GATEWAY in host.roles:
        return f"{host.name} is a gateway", f"{why}: a standby gateway would send with the active one's MAC address"
    return None
