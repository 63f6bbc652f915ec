"""Rows of networks: the switch, its DHCP, its way to a physical network and to its router, and its SNAT.

A network's router port and SNAT belong to the network, not to the router: networks come and go, and a router with a
thousand networks must not be compiled anew for each.
"""

from __future__ import annotations

from collections.abc import Iterator

from ovenbird.model.addresses import derived_mac, gateway_of
from ovenbird.model.addresses6 import PREFIX_LEN, router_address6
from ovenbird.model.objects import Declared, ExternalNetwork, Key, Network, Router
from ovenbird.plan import compile_names as names
from ovenbird.plan.addressing6 import leg_address6
from ovenbird.plan.compile_context import CompileContext, internal_gateway_mtu, network_mtu
from ovenbird.plan.compile_gateway_router import network_leg_rows
from ovenbird.plan.inventory import InventoryView
from ovenbird.plan.legs import is_pinned, legs_of
from ovenbird.plan.rows import OWNER, NbRow, Parent, row_uuid

IPV6_LEAST_MTU = 1280
"""RFC 8200 section 5: a router cannot tell less."""
ADVERTISED_EVERY_S = "60"
"""At most. Who starts asks; this is for workloads that were there before the network had its prefix."""
DHCP_LEASE_S = 43200
"""An address never changes while its port lives, so a long lease costs nothing and outlasts a controller's outage."""


def external_network_rows(declared: Declared, spec: ExternalNetwork) -> tuple[NbRow, ...]:
    """Return the switch of a provider network and its localnet port."""
    owner = {OWNER: str(declared.key)}
    switch = names.external_switch(declared.name)
    return (
        NbRow("Logical_Switch", switch, {"name": declared.name, "external_ids": owner}, declared.key),
        _localnet_row(declared, switch, spec.physnet, spec.vlan),
    )


def _localnet_row(declared: Declared, switch: str, physnet: str, vlan: int | None) -> NbRow:
    localnet = names.localnet_port(declared.name)
    return NbRow(
        "Logical_Switch_Port",
        row_uuid("Logical_Switch_Port", localnet),
        {
            "name": localnet,
            "type": "localnet",
            "addresses": frozenset(("unknown",)),
            "options": {"network_name": physnet},
            # northd copies tag_request to tag and never clears tag, so tag itself is ours.
            "tag": vlan,
            "tag_request": None,
            "external_ids": {OWNER: str(declared.key)},
        },
        declared.key,
        Parent("Logical_Switch", switch, "ports"),
    )


def network_rows(
    declared: Declared, spec: Network, inventory: InventoryView, context: CompileContext
) -> tuple[NbRow, ...]:
    """Return the switch of a network, its DHCP options, and what connects it to its router."""
    owner = {OWNER: str(declared.key)}
    switch = names.network_switch(declared.name)
    router = inventory.get(Key("Router", spec.router)) if spec.router else None
    # Workloads reach their own router's load balancers only if the switch balances too (northd does it where the client
    # is). While the router has none, its group is empty, and northd sends nothing through connection tracking for it.
    groups = frozenset((names.load_balancer_group(router.name),) if router else ())
    rows = [
        NbRow(
            "Logical_Switch",
            switch,
            {"name": declared.name, "external_ids": owner},
            declared.key,
            members={"load_balancer_group": groups},
        )
    ]
    router_spec = router.spec if router and isinstance(router.spec, Router) else None
    if spec.physnet is not None:
        rows.append(_localnet_row(declared, switch, names.vlans_of(spec.physnet), spec.vlan))
    if spec.dhcp:
        options = _dhcp_options(declared, spec, router_spec, context)
        rows.append(
            NbRow(
                "DHCP_Options",
                names.dhcp_options(declared.name),
                {"cidr": spec.cidr, "options": options, "external_ids": owner},
                declared.key,
            )
        )
    if tells_by_dhcpv6(spec):
        rows.append(
            NbRow(
                "DHCP_Options",
                names.dhcpv6_options(declared.name),
                {"cidr": spec.cidr6, "options": _dhcpv6_options(declared, spec), "external_ids": owner},
                declared.key,
            )
        )
    if router and router_spec:
        rows += _attachment_rows(declared, spec, router, router_spec, context)
        if is_pinned(router_spec):
            rows += network_leg_rows(declared, spec, router, router_spec, inventory)
        else:
            rows += _snat_rows(declared, spec, router, router_spec, inventory)
    return tuple(rows)


def _router_port_mac(network: Declared) -> str:
    """Return the MAC of the router's leg: what admission assigned, since only admission knows of conflicts."""
    return network.assigned.mac or derived_mac("router-port", network.name)


def _dhcp_options(network: Declared, spec: Network, router: Router | None, context: CompileContext) -> dict[str, str]:
    gateway = gateway_of(spec.cidr, spec.gateway)
    options = {
        "lease_time": str(DHCP_LEASE_S),
        "server_id": gateway,
        "server_mac": _router_port_mac(network),
        "mtu": str(network_mtu(spec, router, context)),
    }
    if spec.router:
        options["router"] = gateway
    if spec.dns:
        options["dns_server"] = f"{{{', '.join(spec.dns)}}}"
    return options


def tells_by_dhcpv6(spec: Network) -> bool:
    """Whether workloads of a network are told anything by DHCPv6."""
    return spec.dhcp6 or bool(spec.dns6)


def _dhcpv6_options(network: Declared, spec: Network) -> dict[str, str]:
    options = {"server_id": _router_port_mac(network)}
    if spec.dns6:
        options["dns_server"] = f"{{{', '.join(spec.dns6)}}}"
    if not spec.dhcp6:
        options["dhcpv6_stateless"] = "true"
    return options


def _router_advertisements(spec: Network, router: Router, context: CompileContext) -> dict[str, str]:
    """Return what the router tells workloads (ovn-nb(5), Logical_Router_Port.ipv6_ra_configs)."""
    told = {
        "address_mode": "dhcpv6_stateful" if spec.dhcp6 else "dhcpv6_stateless" if spec.dns6 else "slaac",
        "send_periodic": "true",
        "max_interval": ADVERTISED_EVERY_S,
        "mtu": str(max(network_mtu(spec, router, context), IPV6_LEAST_MTU)),
    }
    return {**told, "rdnss": spec.dns6[0]} if spec.dns6 else told


def _attachment_rows(
    declared: Declared, spec: Network, router: Declared, router_spec: Router, context: CompileContext
) -> list[NbRow]:
    owner = {OWNER: str(declared.key)}
    port, peer = names.router_port(router.name, declared.name), names.peer_port(declared.name, router.name)
    addresses = [f"{gateway_of(spec.cidr, spec.gateway)}/{spec.cidr.partition('/')[2]}"]
    if spec.cidr6:
        addresses.append(f"{router_address6(spec.cidr6)}/{PREFIX_LEN}")
    mtu = internal_gateway_mtu(spec, router_spec, context)
    return [
        NbRow(
            "Logical_Router_Port",
            row_uuid("Logical_Router_Port", f"Network/{port}"),
            {
                "name": port,
                "mac": _router_port_mac(declared),
                "networks": frozenset(addresses),
                "ha_chassis_group": None,
                "options": {"gateway_mtu": str(mtu)} if mtu else {},
                "ipv6_ra_configs": _router_advertisements(spec, router_spec, context) if spec.cidr6 else {},
                "external_ids": owner,
            },
            declared.key,
            Parent("Logical_Router", names.logical_router(router.name), "ports"),
        ),
        NbRow(
            "Logical_Switch_Port",
            row_uuid("Logical_Switch_Port", f"Network/{peer}"),
            {
                "name": peer,
                "type": "router",
                "addresses": frozenset(("router",)),
                "options": {"router-port": port},
                "external_ids": owner,
            },
            declared.key,
            Parent("Logical_Switch", names.network_switch(declared.name), "ports"),
        ),
    ]


def _snat_rows(
    declared: Declared, spec: Network, router: Declared, router_spec: Router, inventory: InventoryView
) -> Iterator[NbRow]:
    """Yield the translations at each leg of the router that has some."""
    for at, (leg, external) in enumerate(zip(legs_of(router), router_spec.externals, strict=True)):
        identity = f"Network/{declared.name}" if at == 0 else f"Network/{declared.name}/{leg.network}"
        if external.snat and leg.address:
            yield _snat_row(declared, router, identity, spec.cidr, leg.address)
        leads_to = inventory.spec(ExternalNetwork, leg.network) if external.snat6 and spec.cidr6 else None
        if leads_to and spec.cidr6 and leg.address and (address6 := leg_address6(leg, router_spec, leads_to)):
            yield _snat_row(declared, router, f"{identity} IPv6", spec.cidr6, address6)


def _snat_row(declared: Declared, router: Declared, identity: str, inside: str, outside: str) -> NbRow:
    return NbRow(
        "NAT",
        row_uuid("NAT", identity),
        {
            "type": "snat",
            "external_ip": outside,
            "logical_ip": inside,
            "external_mac": None,
            "logical_port": None,
            "options": {},
            "external_ids": {OWNER: str(declared.key)},
        },
        declared.key,
        Parent("Logical_Router", names.logical_router(router.name), "nat"),
    )
