"""Which gateways are fit to carry routers: what BFD between tunnels cannot see, judged from what agents measured.

A pure function of what was told, of its own last answer and of a time that comes in. Rules, in order of weight: unknown
moves nothing; where no other gateway is better, nobody is moved; bad news counts once it has stood long enough, good
news only after a hold-down that grows with every relapse. Must never look at a clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from ovenbird.model.cluster import GatewayTimes
from ovenbird.plan.hold_down import HoldDown

OVN_CONTROLLER = "ovn-controller"
OVS_VSWITCHD = "ovs-vswitchd"
UPLINK = "uplink"
BRIDGE = "bridge"
NEXT_HOP = "next hop of "


class State(Enum):
    """What a measurement says."""

    OK = "ok"
    BAD = "bad"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was measured on a host."""

    state: State = State.UNKNOWN
    evidence: str = ""
    since_s: float = 0.0
    """Unix seconds by that host's clock; 0: not told."""

    def to_json(self) -> dict[str, Any]:
        """Return it as the facts hold it."""
        return {"state": self.state.value, "evidence": self.evidence, "since_s": round(self.since_s, 1)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What is known of one gateway."""

    name: str
    is_fresh: bool
    """Whether its agent was heard of lately; what a silent one told last counts for nothing."""
    physnets: Mapping[str, Mapping[str, Finding]] = field(default_factory=dict)
    """Physical network -> measurement -> what it says. Those of the whole host are in every network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How long news must stand. Seconds."""

    patience_s: Mapping[str, float] = field(default_factory=lambda: {OVN_CONTROLLER: 2.0})
    """Before this, the host's own agent repairs by itself what it found; others count at once, as agents debounce."""
    next_hop_s: float = 0.2
    """Agents do not lose a next hop that died in the same instant: wait until the others could have told, too."""
    settle_s: float = 1.5
    """When most gateways say the same at once, it is probably not theirs: wait whether all do."""
    hold_down: HoldDown = field(default_factory=lambda: HoldDown.of(GatewayTimes()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is thought of one gateway on one physical network."""

    cause: str = ""
    """Measurement for which it was found unfit; "": it is fit."""
    why: str = ""
    """The cause with its evidence, for people."""
    seen_s: Mapping[str, float] = field(default_factory=dict)
    """Bad measurement -> since when it has been told."""
    good_since_s: float | None = None
    """While unfit: since when nothing bad is told."""
    falls_s: tuple[float, ...] = ()
    """When it was found unfit, lately."""

    @property
    def is_fit(self) -> bool:
        """Whether it may carry routers."""
        return not self.cause


Spot = tuple[str, str]
"""(gateway, physical network)"""
Verdicts = Mapping[Spot, Verdict]


def judge(sights: Sequence[Sight], before: Verdicts, now_s: float, policy: Policy | None = None) -> dict[Spot, Verdict]:
    """Return the verdict on each gateway and physical network; `now_s` is any clock that only goes forward."""
    policy = policy or Policy()
    found: dict[Spot, Verdict] = {}
    for physnet in sorted({physnet for sight in sights for physnet in sight.physnets}):
        there = {sight.name: sight for sight in sights if physnet in sight.physnets}
        told = {name: sight.physnets[physnet] if sight.is_fresh else {} for name, sight in there.items()}
        seen = {name: _noted(before.get((name, physnet), Verdict()), told[name], now_s) for name in there}
        judged = _restored(told, seen, now_s, policy)
        found |= {(name, physnet): verdict for name, verdict in _fallen(told, judged, now_s, policy).items()}
    return found


def unfit(verdicts: Verdicts) -> dict[str, frozenset[str]]:
    """Return, by physical network, the gateways that must not carry routers while another one can."""
    found: dict[str, set[str]] = {}
    for (name, physnet), verdict in verdicts.items():
        if not verdict.is_fit:
            found.setdefault(physnet, set()).add(name)
    return {physnet: frozenset(names) for physnet, names in found.items()}


def is_waiting(verdicts: Verdicts, now_s: float, policy: Policy) -> bool:
    """Whether something bad may not have stood for long enough yet: look again soon."""
    longest_s = 1.0 + max(policy.settle_s, policy.next_hop_s, *policy.patience_s.values())
    return any(
        verdict.is_fit and any(now_s - seen_s < longest_s for seen_s in verdict.seen_s.values())
        for verdict in verdicts.values()
    )


Told = Mapping[str, Mapping[str, Finding]]
"""Gateway -> measurement -> what it says, on one physical network. Empty for one that is silent."""


def _bad(findings: Mapping[str, Finding]) -> list[str]:
    return [what for what, finding in findings.items() if finding.state is State.BAD]


def _noted(verdict: Verdict, findings: Mapping[str, Finding], now_s: float) -> Verdict:
    """Note since when what is bad has been bad, and since when all is good."""
    seen = {what: verdict.seen_s.get(what, now_s) for what in _bad(findings)}
    cause = findings.get(verdict.cause, Finding(State.OK))
    # A measurement that is no longer made (its network is gone) holds nobody down; one that failed does.
    good = bool(findings) and not seen and cause.state is State.OK
    since_s = (now_s if verdict.good_since_s is None else verdict.good_since_s) if good else None
    return replace(verdict, seen_s=seen, good_since_s=since_s)


def _restored(told: Told, seen: Mapping[str, Verdict], now_s: float, policy: Policy) -> dict[str, Verdict]:
    """Let those return that have been good for long enough, or at once if all others are worse."""
    others_bad = all(_bad(told[name]) for name, verdict in seen.items() if verdict.is_fit)
    judged = {}
    for name, verdict in seen.items():
        judged[name] = verdict
        if not verdict.is_fit and verdict.good_since_s is not None:
            stood = now_s - verdict.good_since_s >= policy.hold_down.after(verdict.falls_s, now_s)
            if stood or others_bad:
                judged[name] = replace(verdict, cause="", why="")
    return judged


def _fallen(told: Told, judged: Mapping[str, Verdict], now_s: float, policy: Policy) -> dict[str, Verdict]:
    """Find those unfit whose bad news has stood, as long as a better one stays."""
    found = dict(judged)
    for name in sorted(judged, key=lambda name: min(judged[name].seen_s.values(), default=now_s)):
        verdict = judged[name]
        if not verdict.is_fit:
            continue
        better = any(found[other].is_fit and told[other] and not _bad(told[other]) for other in found if other != name)
        cause = next((what for what in sorted(verdict.seen_s) if _counts(what, verdict, told, now_s, policy)), "")
        if better and cause:
            why = f"{cause}: {told[name][cause].evidence}"
            falls_s = policy.hold_down.noted(verdict.falls_s, now_s)
            found[name] = replace(verdict, cause=cause, why=why, falls_s=falls_s, good_since_s=None)
    return found


def _counts(what: str, verdict: Verdict, told: Told, now_s: float, policy: Policy) -> bool:
    """Whether one bad measurement is a reason to move: it has stood, and not everybody says the same."""
    states = [finding.state for findings in told.values() if (finding := findings.get(what)) is not None]
    bad, good = states.count(State.BAD), states.count(State.OK)
    if not good:
        return False  # nowhere is it better
    own_s = policy.next_hop_s if what.startswith(NEXT_HOP) else policy.patience_s.get(what, 0.0)
    wait_s = max(own_s, policy.settle_s if bad > good else 0.0)
    return now_s - verdict.seen_s[what] >= wait_s


def read_fitness(facts: Mapping[str, Any]) -> dict[str, dict[str, Finding]]:
    """Return what an agent tells (`Node.facts`, key "fitness"), by physical network; what is odd is unknown."""
    told = facts.get("fitness")
    if not isinstance(told, Mapping):
        return {}
    host = _findings(told.get("host"))
    physnets = told.get("physnets")
    if not isinstance(physnets, Mapping):
        return {}
    return {str(physnet): {**host, **_findings(each)} for physnet, each in physnets.items()}


def _findings(told: Any) -> dict[str, Finding]:
    if not isinstance(told, Mapping):
        return {}
    return {str(what): _finding(each) for what, each in told.items() if isinstance(each, Mapping)}


def _finding(told: Mapping[str, Any]) -> Finding:
    state = next((state for state in State if state.value == told.get("state")), State.UNKNOWN)
    since_s = told.get("since_s")
    return Finding(state, str(told.get("evidence", "")), float(since_s) if isinstance(since_s, int | float) else 0.0)
