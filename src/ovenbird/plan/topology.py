"""Which parts of a cluster are unsafe as they are built, even while everything works. Pure.

| rule | finds | |
|---|---|---|
| database.single | one central host: its loss stops every change | warning |
| database.even | two or four central hosts: they survive no more failures than one fewer | unsafe for two |
| gateway.none | a router leads to a physical network that no gateway has an uplink to | unsafe |
| gateway.single | only one gateway has an uplink to it: nobody stands by | unsafe |
| gateway.unprobed | its external network names no upstream router, so nobody asks for it | warning |
| gateway.unknown_chassis | a list of gateways names a chassis that SB does not know | unsafe |
| gateway.unmapped | a gateway of a router's list has no bridge for the physical network | unsafe |
| gateway.encapsulation | gateways of one list have no kind of tunnel in common | unsafe |
| gateway.not_one_l2 | gateways see different hardware addresses of one upstream router | warning |
| floating_ip.no_uplink | a distributed floating IP's workload is on a host without an uplink there | unsafe |
| network.unfit_host | a workload in a VLAN's network is on a host without the uplink that it takes | unsafe |
| loop.two_localnets | a switch has two ways to physical networks (localnet or l2gateway ports) | unsafe |
| loop.one_bridge | a chassis maps two physical networks to one bridge | unsafe |
| obsolete.redirect_chassis | a router port has `options:redirect-chassis`, which OVN ignores | unsafe |
| obsolete.both_forms | a router port has gateway_chassis and ha_chassis_group: OVN ignores the first | unsafe |
| obsolete.pinned | a router with `options:chassis` has a port with a list of gateways: it is left out | unsafe |

What is not known makes no finding. This module must never judge what is broken now: see `ovenbird.plan.health`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from ovenbird.model.cluster import Cluster, Role
from ovenbird.model.objects import ExternalNetwork, FloatingIP, Router
from ovenbird.plan.compile_names import vlans_of
from ovenbird.plan.inventory import InventoryView
from ovenbird.plan.reach import why_not_on


class Severity(Enum):
    """How bad a finding is."""

    UNSAFE = "unsafe"
    """The next failure, or a usual one, hurts."""
    WARNING = "warning"
    """Worth knowing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is unsafe, and why."""

    severity: Severity
    rule: str
    subject: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChassisSight:
    """A chassis as SB has it."""

    name: str
    mappings: Mapping[str, str]
    """physnet -> bridge (`ovn-bridge-mappings`)."""
    encapsulations: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayPort:
    """A router port in NB that gateways carry, or should; anybody's."""

    name: str
    router: str
    listed: tuple[str, ...] = ()
    """Chassis of its list, whichever form that has."""
    physnets: frozenset[str] = frozenset()
    """Physical networks that its switch has a localnet port to."""
    has_group: bool = False
    has_gateway_chassis: bool = False
    redirect_chassis: str = ""
    pinned_to: str = ""
    """`options:chassis` of its router."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchSight:
    """A switch in NB with the physical networks of its localnet and l2gateway ports; anybody's."""

    name: str
    physnets: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """What is known; None: could not be asked."""

    cluster: Cluster
    inventory: InventoryView
    chassis: Mapping[str, ChassisSight] | None = None
    ports: tuple[GatewayPort, ...] | None = None
    switches: tuple[SwitchSight, ...] | None = None
    places: Mapping[str, str] | None = None
    """Port -> host that its workload is attached on."""
    next_hops: Mapping[str, Mapping[str, str]] | None = None
    """ExternalNetwork -> gateway -> hardware address of the upstream router as seen from there."""


def findings(topology: Topology) -> tuple[Finding, ...]:
    """Return everything that is unsafe, worst first."""
    found = [finding for rule in RULES for finding in rule(topology)]
    return tuple(sorted(found, key=lambda one: (one.severity is not Severity.UNSAFE, one.rule, one.subject)))


def _unsafe(rule: str, subject: str, message: str, hint: str = "") -> Finding:
    return Finding(severity=Severity.UNSAFE, rule=rule, subject=subject, message=message, hint=hint)


def _warning(rule: str, subject: str, message: str, hint: str = "") -> Finding:
    return Finding(severity=Severity.WARNING, rule=rule, subject=subject, message=message, hint=hint)


def database_rules(topology: Topology) -> Iterator[Finding]:
    """Judge how many central hosts there are."""
    count = len(topology.cluster.centrals)
    names = ", ".join(host.name for host in topology.cluster.centrals)
    if count == 1:
        message = f"{names} alone keeps the databases: without it nothing can be changed"
        yield _warning("database.single", names, message, "give the role central to 3 hosts")
    elif count == 2:
        message = f"{names}: both are needed for every write, so the loss of either stops all changes"
        yield _unsafe("database.even", "databases", message, "give the role central to 3 hosts, or to 1")
    elif count % 2 == 0:
        message = f"{count} central hosts survive no more failures than {count - 1} would"
        yield _warning("database.even", "databases", message, f"{count - 1} or {count + 1} of them")


def gateway_rules(topology: Topology) -> Iterator[Finding]:
    """Judge how many gateways each physical network has that routers lead to."""
    used: dict[str, list[str]] = {}
    for name, declared in sorted(topology.inventory.of_kind("Router").items()):
        spec = declared.spec
        for network in (leg.network for leg in spec.externals) if isinstance(spec, Router) else ():
            external = topology.inventory.spec(ExternalNetwork, network)
            if external is None:
                continue
            used.setdefault(external.physnet, []).append(name)
            if external.gateway is None:
                message = f"Router/{name} leads to it, and it has no 'gateway': nobody asks whether gateways reach it"
                yield _warning("gateway.unprobed", f"ExternalNetwork/{network}", message, "declare its upstream router")
    for physnet, routers in used.items():
        hosts = [
            host.name for host in topology.cluster.hosts if Role.GATEWAY in host.roles and physnet in host.physnets
        ]
        shown = f"{len(routers)} router(s) lead there, {routers[0]} for one"
        hint = "give two hosts or more the role gateway and an uplink to it"
        if not hosts:
            yield _unsafe("gateway.none", physnet, f"no gateway has an uplink to {physnet}: {shown}", hint)
        elif len(hosts) == 1:
            message = f"only {hosts[0]} has an uplink to {physnet}: nobody stands by; {shown}"
            yield _unsafe("gateway.single", physnet, message, hint)


def list_rules(topology: Topology) -> Iterator[Finding]:
    """Judge the lists of gateways in NB, ours and foreign ones."""
    chassis = topology.chassis
    for port in topology.ports or ():
        subject = f"{port.router} ({port.name})"
        known = [chassis[name] for name in port.listed if name in chassis] if chassis is not None else []
        if chassis is not None:
            for name in port.listed:
                if name not in chassis:
                    message = f"its list of gateways names {name}, which is no chassis in SB"
                    hint = f"there are: {', '.join(sorted(chassis)) or 'none'}"
                    yield _unsafe("gateway.unknown_chassis", subject, message, hint)
        for one in known:
            for physnet in sorted(port.physnets - one.mappings.keys()):
                message = f"{one.name} is in its list of gateways, and has no bridge for {physnet}: it would drop all"
                yield _unsafe("gateway.unmapped", subject, message, "ovn-bridge-mappings of that host")
        if len(known) > 1 and not frozenset.intersection(*(one.encapsulations for one in known)):
            kinds = ", ".join(f"{one.name} {'/'.join(sorted(one.encapsulations)) or 'none'}" for one in known)
            message = f"its gateways have no kind of tunnel in common ({kinds}): OVN steers to one kind only"
            yield _unsafe("gateway.encapsulation", subject, message, "ovn-encap-type of those hosts")


def obsolete_rules(topology: Topology) -> Iterator[Finding]:
    """Judge router ports whose gateways are said in a way that OVN ignores."""
    for port in topology.ports or ():
        subject = f"{port.router} ({port.name})"
        if port.redirect_chassis:
            message = f"options:redirect-chassis={port.redirect_chassis} has had no meaning since OVN 20.12"
            if not port.listed:
                message += ": nothing carries this port"
            instead = "" if port.listed else f"lrp-set-gateway-chassis {port.name} {port.redirect_chassis} -- "
            hint = f"ovn-nbctl {instead}remove Logical_Router_Port {port.name} options redirect-chassis"
            yield _unsafe("obsolete.redirect_chassis", subject, message, hint)
        if port.has_group and port.has_gateway_chassis:
            message = "it has gateway_chassis and ha_chassis_group: OVN follows the group and ignores the other"
            yield _unsafe("obsolete.both_forms", subject, message, f"ovn-nbctl clear lrp {port.name} gateway_chassis")
        if port.pinned_to and port.listed:
            message = (
                f"its router has options:chassis={port.pinned_to}: ovn-northd leaves a port with a list of gateways out"
            )
            yield _unsafe("obsolete.pinned", subject, message, "either pin the router, or give the port a list")


def wiring_rules(topology: Topology) -> Iterator[Finding]:
    """Judge where physical networks meet."""
    for switch in topology.switches or ():
        if len(switch.physnets) > 1:
            ways = ", ".join(switch.physnets)
            message = f"it has localnet or l2gateway ports to {ways}: if those meet elsewhere, frames loop"
            yield _unsafe("loop.two_localnets", switch.name, message, "one such port per switch")
    for one in (topology.chassis or {}).values():
        by_bridge: dict[str, list[str]] = {}
        own = {vlans_of(physnet) for physnet in one.mappings}
        for physnet, bridge in sorted(one.mappings.items()):
            if physnet not in own:
                by_bridge.setdefault(bridge, []).append(physnet)
        for bridge, physnets in by_bridge.items():
            if len(physnets) > 1:
                message = f"{' and '.join(physnets)} are both mapped to {bridge}: their switches are joined there"
                yield _unsafe("loop.one_bridge", one.name, message, "a bridge for each physical network")
    for network, seen in sorted((topology.next_hops or {}).items()):
        if len(set(seen.values())) > 1:
            told = ", ".join(f"{gateway} sees {mac}" for gateway, mac in sorted(seen.items()))
            message = f"gateways see different upstream routers at the same address: {told}"
            hint = "gateways of one physical network must be on one layer 2: an address moves between them"
            yield _warning("gateway.not_one_l2", f"ExternalNetwork/{network}", message, hint)


def floating_rules(topology: Topology) -> Iterator[Finding]:
    """Judge where workloads with distributed floating IPs are."""
    for name, declared in sorted(topology.inventory.of_kind("FloatingIP").items()):
        spec = declared.spec
        if not isinstance(spec, FloatingIP) or not spec.distributed:
            continue
        external = topology.inventory.spec(ExternalNetwork, spec.network)
        host = topology.cluster.host((topology.places or {}).get(spec.port, ""))
        if external is not None and host is not None and external.physnet not in host.physnets:
            message = (
                f"it is distributed, but Port/{spec.port} is on {host.name}, without an uplink to {external.physnet}"
            )
            hint = f"give {host.name} an uplink, or set 'distributed: false'"
            yield _unsafe("floating_ip.no_uplink", f"FloatingIP/{name}", message, hint)


def carried_rules(topology: Topology) -> Iterator[Finding]:
    """Judge where workloads of networks are that a physical network carries."""
    for port, node in sorted((topology.places or {}).items()):
        host = topology.cluster.host(node)
        if host is not None and (reason := why_not_on(host, port, topology.inventory)):
            message = f"it is on {host.name}, and {reason[0]}; {reason[1]}"
            yield _unsafe("network.unfit_host", f"Port/{port}", message, "move the workload to another host")


RULES: tuple[Callable[[Topology], Iterator[Finding]], ...] = (
    database_rules,
    gateway_rules,
    list_rules,
    obsolete_rules,
    wiring_rules,
    floating_rules,
    carried_rules,
)
