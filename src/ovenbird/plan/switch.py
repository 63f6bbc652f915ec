"""Decides what a chassis host's Open vSwitch must hold, and which changes bring it there.

Pure: the switch's present content comes in as a `SwitchView`, out come steps. Only what is wanted is compared:
bridges, ports and keys of others (ovn-controller's tunnels and patch ports, an operator's own settings) are never
touched. A workload's port goes only when its absence is asked for by name: not knowing of it (a restarted agent) is
no reason to unplug it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from zlib import crc32

from ovenbird.model.addresses import derived_mac
from ovenbird.model.cluster import Cluster, Database, Host, Role
from ovenbird.plan.compile_names import vlans_of

MARK = "ovenbird-port"
"""external_ids key of a Port that we made; its value says for what."""
STATIC_MARKS = frozenset({"uplink", "underlay"})
"""Marks of ports that follow from the cluster description alone."""
INTEGRATION_BRIDGE = "br-int"
UNDERLAY_BRIDGE = "br-phy"
INTERFACE_NAME_LIMIT = 15
"""Characters of a Linux interface's name (IFNAMSIZ - 1)."""
SB_PROBE_MS = 5000
"""ovn-controller finds a silent SB member after this and the same again, then asks the next member."""


class Datapath(Enum):
    """Where packets are switched."""

    SYSTEM = "system"
    """In the kernel."""
    NETDEV = "netdev"
    """In ovs-vswitchd itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedPort:
    """A port with its one interface."""

    name: str
    mark: str
    """What it is for, e.g. `uplink` or `attachment:vm1`."""
    interface_ids: Mapping[str, str] = field(default_factory=dict)
    """external_ids of the Interface."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedBridge:
    """A bridge with the ports of ours."""

    name: str
    datapath_type: str
    """"" is the kernel."""
    secure: bool = False
    """Drop everything until a controller installed flows."""
    mac: str = ""
    """MAC of the bridge's own port; "" leaves the choice to Open vSwitch."""
    ports: tuple[WantedPort, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedSwitch:
    """All that this host's Open vSwitch must hold for us. A key with None must be absent."""

    external_ids: Mapping[str, str | None]
    bridges: tuple[WantedBridge, ...]
    absent: frozenset[str] = frozenset()
    """Marks of ports that must go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortView:
    """A port that is there."""

    uuid: str
    mark: str
    interface_uuid: str
    interface_ids: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeView:
    """A bridge that is there."""

    uuid: str
    datapath_type: str
    secure: bool
    mac: str
    ports: Mapping[str, PortView]


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchView:
    """What Open vSwitch holds."""

    uuid: str
    """Row of the table Open_vSwitch; "" when the database is new."""
    external_ids: Mapping[str, str]
    bridges: Mapping[str, BridgeView]


@dataclass(frozen=True, slots=True)
class SetKeys:
    """Set and remove keys of Open_vSwitch.external_ids."""

    set: Mapping[str, str]
    remove: frozenset[str]


@dataclass(frozen=True, slots=True)
class AddBridge:
    """Make a bridge with all of its ports."""

    bridge: WantedBridge


@dataclass(frozen=True, slots=True)
class SetBridge:
    """Correct a bridge's own columns."""

    uuid: str
    bridge: WantedBridge


@dataclass(frozen=True, slots=True)
class AddPort:
    """Add a port to a bridge that is there."""

    bridge_uuid: str
    port: WantedPort


@dataclass(frozen=True, slots=True)
class SetInterface:
    """Set keys of an interface's external_ids."""

    interface_uuid: str
    keys: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RemovePort:
    """Remove a port of ours that is wanted no longer."""

    bridge_uuid: str
    port_uuid: str
    name: str


SwitchStep = SetKeys | AddBridge | SetBridge | AddPort | SetInterface | RemovePort


def chassis_mac(host: str, physnet: str) -> str:
    """Return the MAC address of what routers send from a host into a physical network, as OVN calls that."""
    return derived_mac("chassis", host, physnet)


def routed_mac(physnet: str) -> str:
    """Return the MAC address that gateways have in a physical network that they route to: the same on all of them.

    SB remembers it for all of them together, as that of the next hop.
    """
    return derived_mac("routed", physnet)


def provider_bridge(physnet: str) -> str:
    """Return the name of a physical network's bridge."""
    return interface_name("br-", physnet)


def interface_name(prefix: str, name: str) -> str:
    """Return an interface name for a thing of that name; where it is too long, its end is replaced by a checksum."""
    whole = f"{prefix}{name}"
    if len(whole) <= INTERFACE_NAME_LIMIT:
        return whole
    return f"{whole[: INTERFACE_NAME_LIMIT - 6]}{crc32(name.encode()) & 0xFFFFFF:06x}"


def wanted_switch(
    cluster: Cluster,
    host: Host,
    datapath: Datapath,
    *,
    underlay_mac: str = "",
    attached: tuple[WantedPort, ...] = (),
    absent: frozenset[str] = frozenset(),
    southbound: str = "",
) -> WantedSwitch:
    """Return what this host's Open vSwitch must hold; `attached` are the workloads' ports.

    `southbound` is the remote that ovn-controller gets SB from; "" is all members.
    """
    kind = datapath.value if datapath is Datapath.NETDEV else ""
    bridges = [
        WantedBridge(name=INTEGRATION_BRIDGE, datapath_type=kind, secure=True, ports=attached),
        *(
            WantedBridge(
                name=provider_bridge(physnet), datapath_type=kind, ports=(WantedPort(name=interface, mark="uplink"),)
            )
            for physnet, interface in sorted(host.uplinks.items())
        ),
        *(
            WantedBridge(name=provider_bridge(physnet), datapath_type=kind, mac=routed_mac(physnet))
            for physnet in sorted(host.routed)
        ),
    ]
    if datapath is Datapath.NETDEV and host.underlay_interface:
        underlay = WantedPort(name=host.underlay_interface, mark="underlay")
        bridges.append(WantedBridge(name=UNDERLAY_BRIDGE, datapath_type=kind, mac=underlay_mac, ports=(underlay,)))
    keys = _external_ids(cluster, host, datapath)
    if southbound:
        keys["ovn-remote"] = southbound
    return WantedSwitch(external_ids=keys, bridges=tuple(bridges), absent=absent)


def _external_ids(cluster: Cluster, host: Host, datapath: Datapath) -> dict[str, str | None]:
    """Return ovn-controller's settings (ovn-controller(8), "Configuration")."""
    mappings = ",".join(
        f"{name}:{provider_bridge(physnet)}"
        for physnet in sorted(host.physnets)
        for name in ((physnet, vlans_of(physnet)) if physnet in host.uplinks else (physnet,))
    )
    return {
        "system-id": host.name,
        "hostname": host.name,
        "ovn-remote": ",".join(cluster.remotes(Database.SB)),
        "ovn-encap-type": "geneve",
        "ovn-encap-ip": host.address,
        "ovn-bridge": INTEGRATION_BRIDGE,
        "ovn-bridge-datapath-type": datapath.value if datapath is Datapath.NETDEV else None,
        "ovn-bridge-mappings": mappings or None,
        "ovn-chassis-mac-mappings": _chassis_macs(host),
        "ovn-cms-options": _cms_options(host),
        # Every chassis sees all of SB: cheaper for the SB servers than one condition per chassis, and a standby gateway
        # already has what it needs when it takes over.
        "ovn-monitor-all": "true",
        "ovn-remote-probe-interval": str(SB_PROBE_MS),
    }


def _chassis_macs(host: Host) -> str | None:
    """Return which address takes the place of routers' own, which every host has: switches would see it wander.

    That is for VLANs of Networks (ovn-architecture(7), "Multiple localnet logical switches"), and on hosts that never
    carry a router also for what they hand its gateway over the external network.
    """
    also = () if Role.GATEWAY in host.roles else tuple(host.uplinks)
    macs = {name: chassis_mac(host.name, name) for name in (*map(vlans_of, host.uplinks), *also)}
    return ",".join(f"{name}:{mac}" for name, mac in sorted(macs.items())) or None


def plan_switch(wanted: WantedSwitch, view: SwitchView) -> tuple[SwitchStep, ...]:
    """Return the steps of one transaction; empty when all is as wanted."""
    steps: list[SwitchStep] = []
    keys = {key: value for key, value in wanted.external_ids.items() if value is not None}
    set_keys = {key: value for key, value in keys.items() if view.external_ids.get(key) != value}
    remove = frozenset(key for key, value in wanted.external_ids.items() if value is None and key in view.external_ids)
    if set_keys or remove or not view.uuid:
        steps.append(SetKeys(set_keys, remove))
    for bridge in wanted.bridges:
        present = view.bridges.get(bridge.name)
        if present is None:
            steps.append(AddBridge(bridge))
        else:
            steps += _bridge_steps(bridge, present)
    wanted_names = {bridge.name: {port.name for port in bridge.ports} for bridge in wanted.bridges}
    for name, present in view.bridges.items():
        steps += [
            RemovePort(present.uuid, port.uuid, port_name)
            for port_name, port in present.ports.items()
            if port.mark in wanted.absent or (port.mark in STATIC_MARKS and port_name not in wanted_names.get(name, ()))
        ]
    return tuple(steps)


def _bridge_steps(bridge: WantedBridge, present: BridgeView) -> list[SwitchStep]:
    steps: list[SwitchStep] = []
    wrong_mac = bridge.mac and present.mac != bridge.mac
    if present.datapath_type != bridge.datapath_type or present.secure != bridge.secure or wrong_mac:
        steps.append(SetBridge(present.uuid, bridge))
    for port in bridge.ports:
        there = present.ports.get(port.name)
        if there is None:
            steps.append(AddPort(present.uuid, port))
            continue
        wrong = {key: value for key, value in port.interface_ids.items() if there.interface_ids.get(key) != value}
        if wrong:
            steps.append(SetInterface(there.interface_uuid, wrong))
    return steps


def _cms_options(host: Host) -> str | None:
    """Return what other managers of OVN read of a chassis' purpose: their conventions, not ovn-controller's."""
    options = ["enable-chassis-as-gw"] if Role.GATEWAY in host.roles else []
    options += [f"availability-zones={host.zone}"] if host.zone else []
    return ",".join(options) or None
