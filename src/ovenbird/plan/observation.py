"""What was seen of a cluster at one moment, as `ovenbird.plan.health` judges it. Values only.

None always means "could not be asked", and a `why` beside it says why: it must never be filled with a guess, nor with
False. What was seen earlier carries its age.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class MemberState(Enum):
    """What a database member is, by its own word or by that of its host."""

    LEADER = "leader"
    FOLLOWER = "follower"
    DISCONNECTED = "disconnected"
    """It answers and says that it is in contact with no majority (`_Server.Database.connected` is false)."""
    ABSENT = "not serving"
    """Its host refused the connection, or its server lacks the database: the host is there, the member is not."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One expected member of a database."""

    host: str
    remote: str
    state: MemberState = MemberState.UNKNOWN
    why: str = ""
    """Why it is unknown or absent."""
    cid: str = ""
    term: int | None = None
    term_age_s: float | None = None
    """Age of `term` when it was told by the host's agent instead of asked now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseView:
    """One RAFT database; `members` are those that the cluster's description expects."""

    name: str
    """nb, sb or ovenbird."""
    members: tuple[Member, ...]

    @property
    def quorum(self) -> int:
        """Members needed for a majority."""
        return len(self.members) // 2 + 1

    def having(self, *states: MemberState) -> list[Member]:
        """Return the members in one of these states."""
        return [member for member in self.members if member.state in states]


class NorthdState(Enum):
    """What an ovn-northd is."""

    ACTIVE = "active"
    STANDBY = "standby"
    PAUSED = "paused"
    STOPPED = "not running"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Northd:
    """The ovn-northd of one central host."""

    host: str
    state: NorthdState = NorthdState.UNKNOWN
    why: str = ""
    age_s: float | None = None
    """Age of this when it was told by the host's agent instead of asked now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Controller:
    """The acting controller, by what is written in the databases."""

    holder: str | None = None
    """"" when nobody acts."""
    epoch: int | None = None
    """Epoch in the Ovenbird database."""
    nb_epoch: int | None = None
    """Epoch that NB is fenced with."""
    declared_revision: int | None = None
    nb_revision: int | None = None
    """Declared revision that NB holds."""
    confirmed_age_s: float | None = None
    """Age of the last write to NB that was confirmed, as far as this observer saw."""
    taken: str = ""
    """From whom the holder took its place, and on what evidence; "" when it was free."""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chassis:
    """One host that should be a chassis (or one in SB that nobody declared)."""

    name: str
    declared: bool = True
    registered: bool | None = None
    nb_cfg: int | None = None
    heartbeat_age_s: float | None = None
    """Age of its agent's last sign; None when it never gave one, or could not be asked."""
    heartbeat_why: str = ""
    dead_daemons: tuple[str, ...] = ()
    """Daemons that its agent says do not run."""
    connected: bool | None = None
    """Whether its ovn-controller is connected to SB, by its agent's word."""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bfd:
    """One end of a tunnel's BFD session, as the agent of `host` tells it."""

    host: str
    peer: str
    up: bool | None
    age_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterView:
    """A leg of a router; one with several has a view for each."""

    name: str
    mode: str = "active-standby"
    binding: str
    """Its logical port in SB, whose chassis carries it: `cr-ROUTER_NETWORK`, or a gateway router's port."""
    active: str | None = None
    """Chassis that has claimed it; "" when none has, None when it could not be asked."""
    gateways: tuple[tuple[str, int], ...] = ()
    """(chassis, priority), most wanted first."""
    physnet: str = ""
    """Physical network of its external leg; "" when not known."""
    peers: frozenset[str] = frozenset()
    """Chassis that need to see its gateways' liveness: those with workloads behind it (`ref_chassis`)."""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayFitness:
    """A gateway on one physical network, by what its agent measured and the acting controller made of it."""

    name: str
    physnet: str
    bad: tuple[str, ...] = ()
    """What its agent found bad, each with its evidence."""
    unfit: str | None = ""
    """Why it comes last for routers of that network; "" when it does not, None when another host's controller acts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Autonomy:
    """Whether a gateway fails over with the central tier away, by its agent's word (`plan.southbound_path`)."""

    name: str
    works_alone: bool | None = None
    path: str = "unknown"
    """Whom its ovn-controller gets SB from: members, copy, or unknown."""
    relay: str = "unknown"
    """Whether its relay of SB is connected to a member: connected, not connected, or unknown."""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotLearnt:
    """An address that a gateway carries, and to which what its next hop sends does not arrive there."""

    gateway: str
    address: str
    mac: str
    next_hop: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Something declared that cannot be realised."""

    subject: str
    """Kind/name."""
    detail: str


@dataclass(frozen=True, slots=True)
class Drift:
    """Something in NB that was not as declared, and was put right."""

    at_s: float
    """Unix seconds."""
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything that was seen."""

    cluster: str
    observer: str
    """Central host that looked."""
    at_s: float
    """Unix seconds."""
    databases: tuple[DatabaseView, ...] = ()
    northds: tuple[Northd, ...] = ()
    controller: Controller = Controller()
    sb_cfg: int | None = None
    """The nb_cfg that ovn-northd has put before the chassis (`NB_Global.sb_cfg`)."""
    sb_cfg_age_s: float | None = None
    """For how long it has been there."""
    chassis: tuple[Chassis, ...] = ()
    bfd: tuple[Bfd, ...] = ()
    bfd_detect_ms: int = 0
    """How soon BFD should notice a lost gateway now."""
    routers: tuple[RouterView, ...] | None = ()
    routers_why: str = ""
    fitness: tuple[GatewayFitness, ...] = ()
    """Gateways with something bad, or that are unfit."""
    autonomy: tuple[Autonomy, ...] = ()
    """Every gateway host's."""
    not_learnt: tuple[NotLearnt, ...] = ()
    """Only of agents that were heard lately."""
    apart: frozenset[str] = frozenset()
    """Pairs of gateways that are in no group together (`ovenbird.plan.separation.written`)."""
    problems: tuple[Problem, ...] | None = ()
    """What cannot be realised; None when the acting controller, which alone knows, runs on another host."""
    warnings: tuple[str, ...] = ()
    """What does not make it ill, but should be known."""
    drift: tuple[Drift, ...] | None = ()
    """The latest repairs, oldest first; None as with `problems`. Having repaired is news, not illness."""
