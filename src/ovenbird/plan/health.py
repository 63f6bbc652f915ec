"""Is the cluster healthy, and if not, where? One verdict from one snapshot, by rules that each stand alone. Pure.

| rule | triggers when | verdict |
|---|---|---|
| database.no_quorum | so many members are disconnected or not serving that no majority can be left | down |
| database.cut_off | every member that answers says it is disconnected; the others cannot be asked | down |
| database.no_leader | members answer that they are in a quorum, none leads | degraded |
| database.two_leaders | two members call themselves leader (normal for one election timer) | degraded |
| database.two_clusters | members belong to different clusters | degraded |
| database.member_missing | a member is not serving or disconnected, a majority is left | degraded |
| database.member_unknown | a member could not be asked | degraded |
| northd.none_active | every ovn-northd is known, none is active: no change reaches a chassis | down |
| northd.taking_over | none says it is active; a standby, by what its agent last told, may be by now | degraded |
| northd.unknown_active | none is known to be active, some could not be asked | degraded |
| northd.two_active | two say they are active (normal for a moment) | degraded |
| northd.missing | one does not run or is paused | degraded |
| northd.unknown | one could not be asked, another is active | degraded |
| controller.none | nobody acts as controller | degraded |
| controller.unknown | who acts could not be asked | degraded |
| controller.fence | NB is fenced with another epoch than the acting controller's | degraded |
| controller.silent | no NB write was confirmed for `CONFIRM_STALE_S` | degraded |
| controller.behind | NB holds an older revision than is declared | degraded |
| chassis.unregistered | a declared chassis has no record in SB | degraded |
| chassis.unknown | SB could not be asked about a declared chassis | degraded |
| chassis.agent_silent | its agent gave no sign for `HEARTBEAT_STALE_S` (the daemons may well live) | degraded |
| chassis.agent_unknown | its agent never gave a sign, or could not be asked for one | degraded |
| chassis.lagging | it has not confirmed SB's nb_cfg within `LAG_GRACE_S` | degraded |
| chassis.daemon_dead | its agent, heard just now, says that a daemon does not run | degraded |
| chassis.disconnected | its agent, heard just now, says that ovn-controller is not connected to SB | degraded |
| chassis.undeclared | SB has a chassis that nobody declared | degraded |
| bfd.down | a session that a gateway group needs is down at an end that reports | degraded |
| bfd.unknown | neither end of such a session reports it | degraded |
| router.no_gateway | no live gateway carries it | degraded; down if it holds for all gateway routers |
| router.unknown | who carries it could not be asked | degraded |
| router.moved | another gateway than the most wanted one carries it | degraded |
| router.last_gateway | it should have standbys, and none is left alive | degraded |
| gateway.bad | the agent of a gateway, heard lately, finds its uplink, next hop or daemons bad | degraded |
| gateway.held_down | a gateway was unfit, is good again and waits for its hold-down | degraded |
| gateway.needs_central | a gateway has no SB of its own to fail over by when the central tier is away | degraded |
| gateway.on_copy | a gateway reaches no SB member and works on its copy | degraded |
| gateway.apart | two gateways had to be parted (`ovenbird.plan.separation`) | degraded |
| problem | the controller reports a problem | degraded |

"Could not ask" alone never makes anything down: see `tests/core/test_health.py`, which holds this as a property.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from ovenbird.plan.bfd_sessions import sessions_needed
from ovenbird.plan.health_gateways import gateway_findings
from ovenbird.plan.observation import (
    Chassis,
    DatabaseView,
    Member,
    MemberState,
    Northd,
    NorthdState,
    RouterView,
    Snapshot,
)

HEARTBEAT_STALE_S = 15.0
"""Three times the agents' period."""
CONFIRM_STALE_S = 10.0
"""Twice the time after which a controller whose writes are not confirmed gives up."""
LAG_GRACE_S = 10.0
"""A chassis may take so long to confirm what is in SB."""


class Verdict(Enum):
    """How it is; the values are what people read."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    DOWN = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why it is not healthy."""

    verdict: Verdict
    rule: str
    """Name of the rule, `section.rule`."""
    subject: str
    """What it is about: a database, a host, a router."""
    message: str
    hint: str = ""

    @property
    def section(self) -> str:
        """Section of the status that shows it."""
        return self.rule.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Health:
    """The verdict and every reason for it, worst first."""

    verdict: Verdict
    reasons: tuple[Reason, ...] = ()

    def about(self, section: str, subject: str) -> Verdict:
        """Return the verdict on one subject of a section."""
        return worst(reason for reason in self.reasons if reason.section == section and reason.subject == subject)


SEVERITY = (Verdict.HEALTHY, Verdict.DEGRADED, Verdict.DOWN)


def worst(reasons: Iterator[Reason] | tuple[Reason, ...] | list[Reason]) -> Verdict:
    """Return the worst verdict among reasons; healthy when there are none."""
    return max((reason.verdict for reason in reasons), key=SEVERITY.index, default=Verdict.HEALTHY)


def judge(snapshot: Snapshot) -> Health:
    """Return the verdict on a snapshot."""
    reasons = [reason for rule in RULES for reason in rule(snapshot)]
    ordered = sorted(reasons, key=lambda reason: SEVERITY.index(reason.verdict), reverse=True)
    return Health(worst(ordered), tuple(ordered))


def _degraded(rule: str, subject: str, message: str, hint: str = "") -> Reason:
    return Reason(verdict=Verdict.DEGRADED, rule=rule, subject=subject, message=message, hint=hint)


def _down(rule: str, subject: str, message: str, hint: str = "") -> Reason:
    return Reason(verdict=Verdict.DOWN, rule=rule, subject=subject, message=message, hint=hint)


def database_rules(snapshot: Snapshot) -> Iterator[Reason]:
    """Judge each database."""
    for database in snapshot.databases:
        yield from _quorum(database, snapshot.observer)
        yield from _members(database)


def _quorum(database: DatabaseView, observer: str) -> Iterator[Reason]:
    name = database.name
    connected = database.having(MemberState.LEADER, MemberState.FOLLOWER)
    disconnected = database.having(MemberState.DISCONNECTED)
    lost = database.having(MemberState.DISCONNECTED, MemberState.ABSENT)
    unknown = database.having(MemberState.UNKNOWN)
    leaders = database.having(MemberState.LEADER)
    if not connected and len(database.members) - len(lost) < database.quorum:
        hint = f"bring one of them back: {_hosts(lost)}"
        yield _down("database.no_quorum", name, f"{name} has no quorum: {_states(lost)}", hint)
    elif not connected and disconnected and unknown:
        yield _down(
            "database.cut_off",
            name,
            f"{name} has no quorum as seen from {observer}: {_states(disconnected)}; "
            f"{_hosts(unknown)} could not be asked",
            f"if only {observer} is cut off, ask another central host",
        )
    elif connected and not leaders and not unknown:
        yield _degraded("database.no_leader", name, f"{name} has no leader at this moment: an election is under way")
    if len(leaders) > 1:
        yield _degraded("database.two_leaders", name, f"{name}: {_hosts(leaders)} each claim to lead")
    if len({member.cid for member in database.members if member.cid}) > 1:
        ids = ", ".join(f"{member.host} {member.cid[:8]}" for member in database.members if member.cid)
        hint = "the smaller cluster's members must be removed and joined again"
        yield _degraded("database.two_clusters", name, f"{name}: its members belong to different clusters: {ids}", hint)


def _members(database: DatabaseView) -> Iterator[Reason]:
    if not database.having(MemberState.LEADER, MemberState.FOLLOWER) and database.having(MemberState.DISCONNECTED):
        return  # the whole database has been judged, by the same members
    name = database.name
    for member in database.having(MemberState.DISCONNECTED, MemberState.ABSENT):
        yield _degraded("database.member_missing", name, f"{name}: {_states([member])}")
    for member in database.having(MemberState.UNKNOWN):
        yield _degraded(
            "database.member_unknown", name, f"{name}: {member.host} could not be asked{_because(member.why)}"
        )


def northd_rules(snapshot: Snapshot) -> Iterator[Reason]:
    """Judge ovn-northd."""
    if not snapshot.northds:
        return
    by_state: dict[NorthdState, list[Northd]] = {state: [] for state in NorthdState}
    for northd in snapshot.northds:
        by_state[northd.state].append(northd)
    active, unknown = by_state[NorthdState.ACTIVE], by_state[NorthdState.UNKNOWN]
    told = ", ".join(f"{northd.host} {northd.state.value}{_told(northd.age_s)}" for northd in snapshot.northds)
    if not active and not unknown and any(northd.age_s is not None for northd in by_state[NorthdState.STANDBY]):
        yield _degraded("northd.taking_over", "northd", f"no ovn-northd says that it is active yet: {told}")
    elif not active and not unknown:
        hint = "no change reaches a chassis; packets still flow"
        yield _down("northd.none_active", "northd", f"no ovn-northd is active: {told}", hint)
    elif not active:
        yield _degraded("northd.unknown_active", "northd", f"no ovn-northd is known to be active: {told}")
    if len(active) > 1:
        yield _degraded("northd.two_active", "northd", f"more than one ovn-northd says it is active: {told}")
    for northd in by_state[NorthdState.STOPPED] + by_state[NorthdState.PAUSED]:
        yield _degraded("northd.missing", "northd", f"ovn-northd on {northd.host} is {northd.state.value}")
    for northd in unknown if active else ():
        yield _degraded(
            "northd.unknown", "northd", f"ovn-northd on {northd.host} could not be asked{_because(northd.why)}"
        )


def _told(age_s: float | None) -> str:
    return "" if age_s is None else f" ({age_s:.0f} s ago)"


def controller_rules(snapshot: Snapshot) -> Iterator[Reason]:
    """Judge the controller."""
    seen = snapshot.controller
    if seen.holder is None or seen.epoch is None:
        yield _degraded("controller.unknown", "controller", f"who acts as controller is not known{_because(seen.why)}")
        return
    if not seen.holder:
        yield _degraded("controller.none", "controller", "nobody acts as controller: declared changes wait")
        return
    if seen.nb_epoch is not None and seen.nb_epoch != seen.epoch:
        message = f"NB is fenced with epoch {seen.nb_epoch}, but {seen.holder} acts with epoch {seen.epoch}"
        yield _degraded("controller.fence", "controller", f"{message}: a take-over is under way")
    if seen.nb_epoch is None:
        yield _degraded("controller.unknown", "controller", f"what NB holds is not known{_because(seen.why)}")
    if seen.confirmed_age_s is not None and seen.confirmed_age_s > CONFIRM_STALE_S:
        age = f"{seen.confirmed_age_s:.0f} s"
        yield _degraded("controller.silent", "controller", f"{seen.holder} has had no write to NB confirmed for {age}")
    declared, held = seen.declared_revision, seen.nb_revision
    if declared is not None and held is not None and held < declared:
        yield _degraded("controller.behind", "controller", f"NB holds revision {held}, declared is {declared}")


def chassis_rules(snapshot: Snapshot) -> Iterator[Reason]:
    """Judge each chassis."""
    for chassis in snapshot.chassis:
        name = chassis.name
        if not chassis.declared:
            message = f"{name} is registered in SB but is no host of this cluster"
            yield _degraded("chassis.undeclared", name, message, "remove it, or declare the host")
            continue
        if chassis.registered is None:
            yield _degraded(
                "chassis.unknown", name, f"whether {name} is registered is not known{_because(chassis.why)}"
            )
        elif not chassis.registered:
            yield _degraded("chassis.unregistered", name, f"{name} is not registered in SB")
        if chassis.heartbeat_age_s is None:
            message = f"whether the agent of {name} lives is not known{_because(chassis.heartbeat_why)}"
            yield _degraded("chassis.agent_unknown", name, message)
        elif chassis.heartbeat_age_s > HEARTBEAT_STALE_S:
            age = f"{chassis.heartbeat_age_s:.0f} s"
            yield _degraded("chassis.agent_silent", name, f"the agent of {name} has given no sign for {age}")
        else:
            yield from _daemons(chassis)
        if chassis.registered and _lags(snapshot, chassis.nb_cfg):
            message = f"{name} has confirmed nb_cfg {chassis.nb_cfg or 0} of {snapshot.sb_cfg}"
            yield _degraded("chassis.lagging", name, message)


def _daemons(chassis: Chassis) -> Iterator[Reason]:
    for daemon in chassis.dead_daemons:
        yield _degraded("chassis.daemon_dead", chassis.name, f"{daemon} does not run on {chassis.name}")
    if chassis.connected is False:
        message = f"ovn-controller of {chassis.name} is not connected to SB"
        hint = "without it, a standby gateway does not take over"
        yield _degraded("chassis.disconnected", chassis.name, message, hint)


def _lags(snapshot: Snapshot, nb_cfg: int | None) -> bool:
    if snapshot.sb_cfg is None or (snapshot.sb_cfg_age_s is not None and snapshot.sb_cfg_age_s <= LAG_GRACE_S):
        return False
    return (nb_cfg or 0) < snapshot.sb_cfg


def bfd_rules(snapshot: Snapshot) -> Iterator[Reason]:
    """Judge the BFD sessions that gateway groups need."""
    told = {
        (one.host, one.peer): one.up for one in snapshot.bfd if one.up is not None and one.age_s <= HEARTBEAT_STALE_S
    }
    for first, second in sessions_needed(snapshot.routers or ()):
        ends = [told[pair] for pair in ((first, second), (second, first)) if pair in told]
        subject = f"{first}-{second}"
        if not ends:
            yield _degraded("bfd.unknown", subject, f"BFD between {first} and {second} is not known")
        elif not all(ends):
            yield _degraded("bfd.down", subject, f"BFD between {first} and {second} is down")


def alive(snapshot: Snapshot, name: str) -> bool | None:
    """Tell whether a gateway lives, by its registration and by what others see of it; None when nobody can tell."""
    seen = next((chassis for chassis in snapshot.chassis if chassis.name == name), None)
    if seen is not None and seen.registered is False:
        return False
    fresh = [one for one in snapshot.bfd if one.up is not None and one.age_s <= HEARTBEAT_STALE_S]
    by_others = [one.up for one in fresh if one.peer == name]
    if by_others:
        # What it last said of itself counts for nothing against those who no longer hear it.
        return any(by_others)
    if any(one.up for one in fresh if one.host == name):
        return True
    if seen is None or seen.registered is None or seen.heartbeat_age_s is None:
        return None
    return True if seen.heartbeat_age_s <= HEARTBEAT_STALE_S else None


def router_rules(snapshot: Snapshot) -> Iterator[Reason]:
    """Judge each router with an external leg."""
    if snapshot.routers is None:
        yield _degraded(
            "router.unknown", "routers", f"who carries the routers is not known{_because(snapshot.routers_why)}"
        )
        return
    live = {name: alive(snapshot, name) for router in snapshot.routers for name in _candidates(router)}
    stranded = [router.name for router in snapshot.routers if _is_stranded(router, live)]
    verdict = Verdict.DOWN if len(stranded) == len(snapshot.routers) else Verdict.DEGRADED
    for router in snapshot.routers:
        if router.name in stranded:
            yield _stranded(router, verdict)
        elif router.active is None:
            message = f"which gateway carries {router.name} is not known{_because(router.why)}"
            yield _degraded("router.unknown", router.name, message)
        else:
            yield from _gateways(router, live)


def gateway_rules(snapshot: Snapshot) -> Iterator[Reason]:
    """Judge gateways as such: their fitness, their ways to SB, and their sight of each other."""
    yield from (_degraded(*found) for found in gateway_findings(snapshot))


def unfit(snapshot: Snapshot, router: RouterView, name: str) -> str:
    """Return why a gateway must not carry a router while others can; "" when there is no reason, or none is known."""
    there = (one for one in snapshot.fitness if one.name == name and one.physnet == router.physnet)
    return next((one.unfit or "; ".join(one.bad) for one in there), "")


def _candidates(router: RouterView) -> set[str]:
    return {name for name, _ in router.gateways} | ({router.active} if router.active else set())


def _is_stranded(router: RouterView, live: dict[str, bool | None]) -> bool:
    return router.active == "" or (router.active is not None and live.get(router.active) is False)


def _stranded(router: RouterView, verdict: Verdict) -> Reason:
    carrier = f"{router.active} is dead and nobody took over" if router.active else "no gateway has claimed it"
    candidates = ", ".join(name for name, _ in router.gateways)
    hint = f"candidates: {candidates}" if candidates else "no host has role gateway and an uplink to its physnet"
    message = f"{router.name} has no gateway: {carrier}"
    return Reason(verdict=verdict, rule="router.no_gateway", subject=router.name, message=message, hint=hint)


def _gateways(router: RouterView, live: dict[str, bool | None]) -> Iterator[Reason]:
    wanted = router.gateways[0][0] if router.gateways else router.active
    if router.active != wanted:
        message = f"{router.name} is carried by {router.active}, most wanted is {wanted}"
        yield _degraded("router.moved", router.name, message)
    dead = [name for name, _ in router.gateways if live.get(name) is False]
    if len(router.gateways) > 1 and len(router.gateways) - len(dead) <= 1:
        message = f"{router.name} has no standby left: {', '.join(dead)} dead"
        yield _degraded("router.last_gateway", router.name, message, "the next failure takes it down")


def problem_rules(snapshot: Snapshot) -> Iterator[Reason]:
    """Pass on what the controller reports."""
    for problem in snapshot.problems or ():
        yield _degraded("problem", problem.subject, f"{problem.subject}: {problem.detail}")


RULES: tuple[Callable[[Snapshot], Iterator[Reason]], ...] = (
    database_rules,
    northd_rules,
    controller_rules,
    chassis_rules,
    bfd_rules,
    router_rules,
    gateway_rules,
    problem_rules,
)


def _hosts(members: list[Member]) -> str:
    return ", ".join(member.host for member in members)


def _states(members: list[Member]) -> str:
    return ", ".join(f"{member.host} is {member.state.value}{_because(member.why)}" for member in members)


def _because(why: str) -> str:
    return f" ({why})" if why else ""
