"""What our rows are called in NB, and which UUIDs they have: one place, so that all parts agree.

Declared names hold no underscore, so "_" parts names without doubt. A router's port and its peer in the switch must
differ also when a router is called like its network: northd keeps the ports of routers and of switches in one name
space (ovn-nb(5), Logical_Router_Port.name).
"""

from __future__ import annotations

from functools import lru_cache

from ovenbird.plan.rows import row_uuid

_REMEMBERED = 4096
"""Networks whose UUIDs are kept: each of its ports asks for them."""


def router_port(router: str, network: str) -> str:
    """Return the name of a router's port in a Network or ExternalNetwork."""
    return f"{router}_{network}"


def peer_port(network: str, router: str) -> str:
    """Return the name of the switch port that leads to a router."""
    return f"{network}_to_{router}"


def localnet_port(network: str) -> str:
    """Return the name of the switch port that leads an ExternalNetwork, or a Network with a VLAN, to its physnet."""
    return f"{network}_localnet"


def vlans_of(physnet: str) -> str:
    """Return the name that OVN knows a physical network by where Networks have VLANs of it.

    It is mapped to the same bridge. A name of its own has chassis use MAC addresses of their own there and not on the
    external networks, where a gateway must speak with its router's: ovn-controller 23.03.1 goes on replacing that one
    after it took the router over.
    """
    return f"{physnet}_vlans"


def watch(external: str) -> str:
    """Return the name of the port, and of its group, by which an ExternalNetwork's gateways watch each other."""
    return f"{external}_watch"


def chassisredirect_port(router: str, external: str) -> str:
    """Return the SB logical port whose chassis is the router's active gateway (made by northd)."""
    return f"cr-{router_port(router, external)}"


def pinned_port(leg: str, external: str) -> str:
    """Return the external port of a leg's gateway router; SB's binding of it is on the chassis that carries it."""
    return f"{leg}_gw_{external}"


def watch_port(leg: str) -> str:
    """Return the port that has the gateways of a leg watched, which itself carries nothing."""
    return f"{leg}__watch"


def gateway_router_name(leg: str) -> str:
    """Return the name of a leg's gateway router."""
    return f"{leg}_gw"


def gateway_router(leg: str) -> str:
    """Return the UUID of a leg's gateway router."""
    return row_uuid("Logical_Router", gateway_router_name(leg))


@lru_cache(_REMEMBERED)
def network_switch(network: str) -> str:
    """Return the UUID of a Network's Logical_Switch."""
    return row_uuid("Logical_Switch", f"Network/{network}")


def external_switch(external: str) -> str:
    """Return the UUID of an ExternalNetwork's Logical_Switch."""
    return row_uuid("Logical_Switch", f"ExternalNetwork/{external}")


def logical_router(router: str) -> str:
    """Return the UUID of a Router's Logical_Router."""
    return row_uuid("Logical_Router", router)


def gateway_group(leg: str) -> str:
    """Return the UUID of the HA_Chassis_Group of a router's leg, which is named like the leg."""
    return row_uuid("HA_Chassis_Group", leg)


def load_balancer_group(router: str) -> str:
    """Return the UUID of a Router's Load_Balancer_Group, which is named like the router."""
    return row_uuid("Load_Balancer_Group", router)


@lru_cache(_REMEMBERED)
def dhcp_options(network: str) -> str:
    """Return the UUID of a Network's DHCP_Options."""
    return row_uuid("DHCP_Options", network)


@lru_cache(_REMEMBERED)
def dhcpv6_options(network: str) -> str:
    """Return the UUID of a Network's DHCP_Options for IPv6."""
    return row_uuid("DHCP_Options", f"{network} IPv6")
