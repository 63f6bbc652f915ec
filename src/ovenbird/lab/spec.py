"""What a lab consists of: its nodes, their roles and addresses, and the outside world. Pure: text in, values out.

A spec comes from the flags of `lab up` or from a YAML file, is checked here with every problem reported at once, and
does not change for the whole life of a lab. This module must never touch a file or the system.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import yaml

from ovenbird.model.cluster import GATEWAY_TIMES_S, Bfd, Bgp, Cluster, GatewayTimes, Host, Neighbor, Role, Timers
from ovenbird.model.errors import Problem, UserError

LAB_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
NODE_NAME = re.compile(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?")
"""At most 12 characters: a switch port's name is a prefix and this, and an interface name has 15."""

PHYSNET = "ext"
UNDERLAY_INTERFACE = "eth0"
UPLINK_INTERFACE = "eth1"
ROUTED_PHYSNET = "routed"
LEG_INTERFACE = "eth2"
GATEWAY_ASN = 64601
OUTSIDE_ASN = 64600
FABRIC = "fabric"
OUTSIDE = "outside"
RESERVED = frozenset({FABRIC, OUTSIDE})


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec:
    """One node that runs an agent."""

    name: str
    roles: frozenset[Role]
    address: str
    """Underlay address, without prefix length."""
    uplink: bool = True
    """False: a chassis that has no leg to the outside switch."""
    zone: str = ""
    """Availability zone, as in the cluster file."""
    weight: int = 1
    """Of a gateway, as in the cluster file."""

    @property
    def has_uplink(self) -> bool:
        """Whether the node has a leg to the outside switch (computes too: distributed floating IPs leave there)."""
        return self.uplink and bool(self.roles & {Role.GATEWAY, Role.COMPUTE})


@dataclass(frozen=True, slots=True, kw_only=True)
class OutsideAddress:
    """One address of the outside host, which plays the upstream router."""

    address: str
    """With prefix length: 172.16.0.254/24."""
    vlan: int | None = None
    """Tag on the physical network; None: untagged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """A gateway's own wire to the outside host: a subnet of two, over which both speak BGP."""

    node: str
    address: str
    """The gateway's, without prefix length."""
    neighbor: str
    """The outside host's."""
    prefix_length: int = 30

    @property
    def interface(self) -> str:
        """The outside host's interface; the gateway's is `LEG_INTERFACE`."""
        return f"r-{self.node}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabSpec:
    """A whole lab."""

    name: str
    nodes: tuple[NodeSpec, ...]
    outside: tuple[OutsideAddress, ...] = (OutsideAddress(address="172.16.0.254/24"),)
    underlay: str = "10.99.0.0/24"
    underlay_mtu: int = 1500
    election_timer_ms: int = 1000
    timers: Timers = Timers.NORMAL
    bfd: Bfd | None = None
    """None: those of `timers`."""
    gateways: GatewayTimes = field(default_factory=GatewayTimes)
    """As in the cluster file."""
    routed: bool = False
    """Whether gateways have legs of their own to the outside host, which learns by BGP what each of them carries."""

    @property
    def legs(self) -> tuple[Leg, ...]:
        """The gateways' routed legs, in the order of the nodes; 10.98.1.0/30 is the first one's."""
        gateways = [node.name for node in self.nodes if Role.GATEWAY in node.roles] if self.routed else []
        return tuple(
            Leg(node=name, address=f"10.98.{number}.2", neighbor=f"10.98.{number}.1")
            for number, name in enumerate(gateways, start=1)
        )

    def leg(self, node: str) -> Leg | None:
        """Return the routed leg of a node, or None."""
        return next((leg for leg in self.legs if leg.node == node), None)

    @property
    def underlay_prefix_length(self) -> int:
        """Prefix length of the underlay network."""
        return ipaddress.ip_network(self.underlay).prefixlen

    def cluster(self) -> Cluster:
        """Return the cluster description that every node's agent reads."""
        hosts = tuple(
            Host(
                name=node.name,
                address=node.address,
                roles=node.roles,
                uplinks={PHYSNET: UPLINK_INTERFACE} if node.has_uplink else {},
                underlay_interface=UNDERLAY_INTERFACE,
                zone=node.zone,
                weight=node.weight,
                bgp=_bgp(self.leg(node.name)),
            )
            for node in self.nodes
        )
        return Cluster(
            name=self.name,
            hosts=hosts,
            underlay_mtu=self.underlay_mtu,
            election_timer_ms=self.election_timer_ms,
            timers=self.timers,
            own_bfd=self.bfd,
            gateways=self.gateways,
        )


def _bgp(leg: Leg | None) -> Bgp | None:
    if leg is None:
        return None
    neighbor = Neighbor(address=leg.neighbor, asn=OUTSIDE_ASN)
    return Bgp(asn=GATEWAY_ASN, physnets=(ROUTED_PHYSNET,), neighbors=(neighbor,))


def sized(
    name: str, *, central: int = 3, gateways: int = 2, computes: int = 2, timers: str = Timers.NORMAL.value
) -> LabSpec:
    """Return a lab of so many nodes: c1.. (central), g1.. (gateway), n1.. (compute). Raises `UserError`."""
    groups = (("c", Role.CENTRAL, central), ("g", Role.GATEWAY, gateways), ("n", Role.COMPUTE, computes))
    wanted = [
        {"name": f"{letter}{i + 1}", "roles": [role.value]} for letter, role, count in groups for i in range(count)
    ]
    return parse({"name": name, "nodes": wanted, "timers": timers})


def from_yaml(text: str, *, name: str, file: str = "") -> LabSpec:
    """Parse a lab file; `name` is the lab's name unless the file has one. Raises `UserError`."""
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"not YAML: {error}", subject=file) from error
    if not isinstance(data, dict):
        raise UserError("a lab file is a mapping with at least `nodes`", subject=file)
    return parse({"name": name, **data}, file=file)


def parse(data: Mapping[str, Any], *, file: str = "") -> LabSpec:
    """Check plain data and return the lab it describes; raises one `UserError` with every problem."""
    return _Parser(file).lab(data)


def to_data(spec: LabSpec) -> dict[str, Any]:
    """Return plain data that `parse` turns into the same lab."""
    return {
        "name": spec.name,
        "nodes": [
            {
                "name": node.name,
                "roles": sorted(role.value for role in node.roles),
                "address": node.address,
                "uplink": node.uplink,
                "zone": node.zone,
                "weight": node.weight,
            }
            for node in spec.nodes
        ],
        "outside": [{"address": item.address, "vlan": item.vlan} for item in spec.outside],
        "underlay": spec.underlay,
        "underlay_mtu": spec.underlay_mtu,
        "election_timer_ms": spec.election_timer_ms,
        "timers": spec.timers.value,
        **({"bfd": asdict(spec.bfd)} if spec.bfd else {}),
        "gateways": asdict(spec.gateways),
        "routed": spec.routed,
    }


class _Parser:
    """Collects every problem of one file before it complains."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []

    def problem(self, message: str, *, name: str = "", hint: str = "") -> None:
        self.problems.append(
            Problem(message=message, file=self.file, kind="Node" if name else "", name=name, hint=hint)
        )

    def lab(self, data: Mapping[str, Any]) -> LabSpec:
        known = {
            "name",
            "nodes",
            "outside",
            "underlay",
            "underlay_mtu",
            "election_timer_ms",
            "timers",
            "bfd",
            "gateways",
            "routed",
        }
        for key in sorted(set(data) - known):
            self.problem(f"unknown field `{key}`", hint=f"known: {', '.join(sorted(known))}")
        name = str(data.get("name", ""))
        if not LAB_NAME.fullmatch(name):
            self.problem(f"bad lab name {name!r}", hint="lower-case letters, digits and -, at most 32")
        underlay = self.network(data.get("underlay", "10.99.0.0/24"))
        spec = LabSpec(
            name=name,
            nodes=self.nodes(data.get("nodes"), underlay),
            outside=self.outside(data.get("outside", [{"address": "172.16.0.254/24"}])),
            underlay=str(underlay),
            underlay_mtu=self.number(data, "underlay_mtu", 1500, 1280, 9216),
            election_timer_ms=self.number(data, "election_timer_ms", 1000, 100, 600_000),
            timers=self.timers(data.get("timers", Timers.NORMAL.value)),
            bfd=self.bfd(data["bfd"]) if "bfd" in data else None,
            gateways=self.gateways(data.get("gateways", {})),
            routed=self.flag(data, "routed", False),
        )
        if self.problems:
            raise UserError(
                f"the lab cannot be built: {'; '.join(problem.render() for problem in self.problems)}",
                subject=self.file or name,
                problems=self.problems,
            )
        return spec

    def network(self, value: Any) -> ipaddress.IPv4Network:
        try:
            return ipaddress.IPv4Network(str(value))
        except ValueError as error:
            self.problem(f"bad underlay network: {error}")
            return ipaddress.IPv4Network("10.99.0.0/24")

    def number(self, data: Mapping[str, Any], key: str, default: int, least: int, most: int) -> int:
        value = data.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            self.problem(f"`{key}` must be a number from {least} to {most}, not {value!r}")
            return default
        return value

    def flag(self, data: Mapping[str, Any], key: str, default: bool, *, name: str = "") -> bool:
        value = data.get(key, default)
        if not isinstance(value, bool):
            self.problem(f"`{key}` must be true or false, not {value!r}", name=name)
            return default
        return value

    def timers(self, value: Any) -> Timers:
        if value not in {policy.value for policy in Timers}:
            self.problem(f"`timers` must be {', '.join(policy.value for policy in Timers)}, not {value!r}")
            return Timers.NORMAL
        return Timers(value)

    def bfd(self, value: Any) -> Bfd:
        if not isinstance(value, dict) or set(value) - {"min_rx_ms", "min_tx_ms", "mult"}:
            self.problem("`bfd` has the fields min_rx_ms, min_tx_ms and mult")
            return Bfd()
        return Bfd(
            min_rx_ms=self.number(value, "min_rx_ms", 200, 1, 60_000),
            min_tx_ms=self.number(value, "min_tx_ms", 200, 1, 60_000),
            mult=self.number(value, "mult", 3, 1, 255),
        )

    def gateways(self, value: Any) -> GatewayTimes:
        usual = asdict(GatewayTimes())
        if not isinstance(value, dict) or set(value) - usual.keys():
            self.problem(f"`gateways` has the fields {', '.join(usual)}")
            return GatewayTimes()
        numbers = {name: self.number(value, name, usual[name], *GATEWAY_TIMES_S[name]) for name in usual}
        if numbers["longest_hold_down_s"] < numbers["hold_down_s"]:
            self.problem("`longest_hold_down_s` is less than `hold_down_s`")
        return GatewayTimes(**numbers)

    def nodes(self, value: Any, underlay: ipaddress.IPv4Network) -> tuple[NodeSpec, ...]:
        if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
            self.problem("`nodes` must be a list of at least one mapping with name and roles")
            return ()
        taken = {str(item["address"]) for item in value if item.get("address")}
        free = (str(address) for address in underlay.hosts() if str(address) not in taken)
        nodes = tuple(self.node(item, underlay, str(item.get("address") or next(free, ""))) for item in value)
        for what in ("name", "address"):
            values = [getattr(node, what) for node in nodes]
            for twice in sorted({item for item in values if values.count(item) > 1}):
                self.problem(f"{what} {twice} is used more than once")
        if sum(Role.CENTRAL in node.roles for node in nodes) not in (1, 3, 5):
            self.problem("a cluster has 1, 3 or 5 central nodes", hint="an even number survives no more failures")
        return nodes

    def node(self, item: Mapping[str, Any], underlay: ipaddress.IPv4Network, address: str) -> NodeSpec:
        name = str(item.get("name", ""))
        known = {"name", "roles", "address", "uplink", "zone", "weight"}
        for key in sorted(set(item) - known):
            self.problem(f"unknown field `{key}`", name=name, hint=f"known: {', '.join(sorted(known))}")
        if not NODE_NAME.fullmatch(name) or name in RESERVED:
            self.problem(
                f"bad node name {name!r}", hint="lower-case letters, digits and -, at most 12; not outside, fabric"
            )
        try:
            inside = ipaddress.IPv4Address(address) in underlay
        except ValueError:
            inside = False
        if not inside:
            self.problem(f"address {address or '(none left)'} is not in the underlay {underlay}", name=name)
        roles = item.get("roles")
        names = {role.value for role in Role}
        if not isinstance(roles, list) or not roles or not set(map(str, roles)) <= names:
            self.problem(f"`roles` must be a list of {', '.join(sorted(names))}", name=name)
            roles = []
        zone = str(item.get("zone", ""))
        if zone and not NODE_NAME.fullmatch(zone):
            self.problem(f"bad zone {zone!r}", name=name, hint="lower-case letters, digits and -, at most 12")
        return NodeSpec(
            name=name,
            roles=frozenset(Role(str(role)) for role in roles),
            address=address,
            uplink=self.flag(item, "uplink", True, name=name),
            zone=zone,
            weight=self.number(item, "weight", 1, 1, 100),
        )

    def outside(self, value: Any) -> tuple[OutsideAddress, ...]:
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self.problem("`outside` must be a list of mappings with address and, if tagged, vlan")
            return ()
        result = []
        for item in value:
            try:
                address = str(ipaddress.ip_interface(str(item.get("address"))))
            except ValueError as error:
                self.problem(f"outside: bad address: {error}")
                continue
            vlan = None if item.get("vlan") is None else self.number(item, "vlan", 1, 1, 4094)
            result.append(OutsideAddress(address=address, vlan=vlan))
        return tuple(result)
