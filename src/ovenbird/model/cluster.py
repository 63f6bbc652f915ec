"""The cluster's description: which hosts there are, what each is for, and the timers they share.

The same `cluster.yaml` lies in /etc/ovenbird on every host. This module holds its typed form and the ports
and paths that follow from it. It must never read a file: callers hand it text (see `cluster_file.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Role(Enum):
    """What a host is for."""

    CENTRAL = "central"
    """Database member, ovn-northd and controller candidate; 1, 3 or 5 hosts have it."""
    GATEWAY = "gateway"
    """May carry traffic to external networks."""
    COMPUTE = "compute"
    """Runs workloads."""


class Database(Enum):
    """The three RAFT databases of a cluster."""

    NB = "OVN_Northbound"
    SB = "OVN_Southbound"
    OVENBIRD = "Ovenbird"

    @property
    def client_port(self) -> int:
        """TCP port that clients use."""
        return {Database.NB: 6641, Database.SB: 6642, Database.OVENBIRD: 6661}[self]

    @property
    def raft_port(self) -> int:
        """TCP port that members use among themselves."""
        return {Database.NB: 6643, Database.SB: 6644, Database.OVENBIRD: 6663}[self]

    @property
    def short(self) -> str:
        """Short name for people: nb, sb, ovenbird."""
        return {Database.NB: "nb", Database.SB: "sb", Database.OVENBIRD: "ovenbird"}[self]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bfd:
    """Timers of the tunnels' BFD; detection takes about `min_rx_ms * mult`."""

    min_rx_ms: int = 200
    min_tx_ms: int = 200
    mult: int = 3

    @property
    def detect_ms(self) -> int:
        """Time in which the loss of a gateway is noticed."""
        return max(self.min_rx_ms, self.min_tx_ms) * self.mult


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbor:
    """A router that a gateway tells by BGP what it carries (RFC 4271)."""

    address: str
    """IPv4."""
    asn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bgp:
    """How a gateway reaches physical networks that it shares no layer 2 with: by routes, told to its neighbors."""

    asn: int
    """This host's autonomous system."""
    physnets: tuple[str, ...]
    """Physical networks that it routes to; no interface of this host is part of them."""
    neighbors: tuple[Neighbor, ...]
    bfd: Bfd | None = None
    """Timers of BFD to the neighbors; None: those of the tunnels."""


class Timers(Enum):
    """How soon the loss of a gateway is noticed, against how much a busy host may be late without a false alarm."""

    CONSERVATIVE = "conservative"
    NORMAL = "normal"
    FAST = "fast"

    @property
    def bfd(self) -> Bfd:
        """Timers of BFD where no host is so busy that they would fail it (`ovenbird.plan.bfd_timers`)."""
        interval_ms = {Timers.CONSERVATIVE: 500, Timers.NORMAL: 200, Timers.FAST: 50}[self]
        return Bfd(min_rx_ms=interval_ms, min_tx_ms=interval_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayTimes:
    """How long a gateway must be well, or away, until that counts. Seconds."""

    hold_down_s: int = 10
    """One that was unfit must be good for so long; doubled with every relapse within a quarter of an hour."""
    longest_hold_down_s: int = 600
    lost_after_s: int = 300
    """One that was not known to be good for so long comes last in the lists of those that it does not carry."""


GATEWAY_TIMES_S = {"hold_down_s": (1, 3600), "longest_hold_down_s": (1, 86400), "lost_after_s": (10, 86400)}
"""Least and most of each of `GatewayTimes`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One host of the cluster. Its name is its hostname, its OVN chassis name and its name everywhere else."""

    name: str
    address: str
    """Underlay address: databases listen on it, tunnels end on it."""
    roles: frozenset[Role]
    uplinks: Mapping[str, str] = field(default_factory=dict)
    """physnet -> network interface that leads to it."""
    underlay_interface: str = ""
    """Interface that carries `address`; needed only with the userspace datapath."""
    zone: str = ""
    """Availability zone: gateways of one zone may fail together, and routers may choose by it. "" is none."""
    weight: int = 1
    """Of a gateway: how many routers it should carry, compared with the others."""
    bgp: Bgp | None = None
    """Of a gateway: which physical networks it reaches by routing; None: none."""

    @property
    def routed(self) -> tuple[str, ...]:
        """Physical networks that this host reaches by routing."""
        return self.bgp.physnets if self.bgp is not None else ()

    @property
    def physnets(self) -> frozenset[str]:
        """Physical networks that this host reaches, by an uplink or by routing."""
        return frozenset((*self.uplinks, *self.routed))

    @property
    def is_central(self) -> bool:
        """Whether this host keeps database members."""
        return Role.CENTRAL in self.roles

    @property
    def is_chassis(self) -> bool:
        """Whether ovs-vswitchd and ovn-controller run on this host."""
        return bool(self.roles & {Role.GATEWAY, Role.COMPUTE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The whole description."""

    name: str
    hosts: tuple[Host, ...]
    datapath: str = "auto"
    """"system" (kernel), "netdev" (userspace) or "auto" (netdev if the kernel lacks openvswitch)."""
    underlay_mtu: int = 1500
    election_timer_ms: int = 1000
    timers: Timers = Timers.NORMAL
    own_bfd: Bfd | None = None
    """Timers of BFD that the operator has fixed; they take the place of the policy's."""
    gateways: GatewayTimes = GatewayTimes()

    @property
    def bfd(self) -> Bfd:
        """Timers of BFD on hosts that are not too busy for them."""
        return self.own_bfd or self.timers.bfd

    @property
    def centrals(self) -> tuple[Host, ...]:
        """Hosts that keep database members, in the order of the file."""
        return tuple(host for host in self.hosts if host.is_central)

    @property
    def physnets(self) -> frozenset[str]:
        """Every physical network that some host reaches."""
        return frozenset[str]().union(*(host.physnets for host in self.hosts))

    @property
    def routed(self) -> frozenset[str]:
        """Those of them that hosts reach by routing: there is no layer 2 that they share."""
        return frozenset(physnet for host in self.hosts for physnet in host.routed)

    @property
    def gateway_zones(self) -> frozenset[str]:
        """Every availability zone that has a gateway."""
        return frozenset(host.zone for host in self.hosts if host.zone and Role.GATEWAY in host.roles)

    def host(self, name: str) -> Host | None:
        """Return the host of that name, or None."""
        return next((host for host in self.hosts if host.name == name), None)

    def remotes(self, database: Database) -> tuple[str, ...]:
        """OVSDB remotes of every member of a database, e.g. `tcp:10.0.0.1:6641`."""
        return tuple(f"tcp:{bracketed(host.address)}:{database.client_port}" for host in self.centrals)


def bracketed(address: str) -> str:
    """Return an address as OVSDB remotes need it: IPv6 in brackets."""
    return f"[{address}]" if ":" in address else address
