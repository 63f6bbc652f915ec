"""Is a gateway good to carry routers, and since when? Judged from what SB and its own agent say.

Good needs every piece of evidence: that it is registered, has confirmed what NB asks for, that most others do not see
it dead, and that its agent, heard lately, says that its daemons run, are connected and see peers by BFD, and that it
does not hold the host back any more. One that speaks against it makes it not good; one that is missing makes it
unknown, which is not good either, but is told apart. It must never judge from a guess.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

HEARD_S = 15.0
"""Three heartbeats of an agent."""
BEHIND_S = 5.0
"""How long a chassis may take to confirm what NB asks for; every change is not confirmed for a moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayFacts:
    """What is known of one gateway; None for what could not be asked."""

    name: str
    registered: bool | None = None
    behind: bool | None = None
    """Whether `Chassis_Private.nb_cfg` is less than `SB_Global.nb_cfg`."""
    heartbeat_age_s: float | None = None
    daemons_run: bool | None = None
    """Whether its ovs-vswitchd and its ovn-controller run."""
    held: bool | None = False
    """Whether its agent holds its ovs-vswitchd back from the tunnels. Agents of before do not tell: no evidence."""
    connected: bool | None = None
    """Whether its ovn-controller is connected to SB."""
    dead: bool = False
    """Whether most of those that watch it by BFD say so (`ovenbird.plan.gateway_death`)."""
    bfd: tuple[bool | None, ...] = ()
    """Its ends of BFD sessions: up or not. None at all is no evidence against it: it may be in no group."""
    incarnation: str = ""
    """Changes when the host or one of its daemons starts anew: what was good before says nothing then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """One gateway, judged."""

    good: bool | None
    """None: not known."""
    why: str = ""
    """What speaks against it, or is not known."""


def judge_readiness(facts: GatewayFacts, *, behind_for_s: float = 0.0) -> Readiness:
    """Return whether a gateway is good; `behind_for_s`: for how long it has been behind."""
    heard = facts.heartbeat_age_s is not None and facts.heartbeat_age_s <= HEARD_S
    # What its agent said counts only while it is heard.
    evidence: tuple[tuple[bool | None, str], ...] = (
        (facts.registered, "not registered in SB"),
        (None if facts.behind is None else behind_for_s < BEHIND_S, "does not confirm what NB asks for"),
        (not facts.dead, "it is seen by BFD no more"),
        (heard or None, "its agent is not heard"),
        (facts.daemons_run if heard else None, "ovs-vswitchd or ovn-controller does not run"),
        (
            _negated(facts.held) if heard else None,
            "its agent holds it until it has its flows, takes nothing from others and sees them",
        ),
        (facts.connected if heard else None, "ovn-controller is not connected to SB"),
        (_sees_a_peer(facts.bfd) if heard else None, "no peer is seen by BFD"),
    )
    for answer in (False, None):
        for said, why in evidence:
            if said is answer:
                unsure = answer is None and why != "its agent is not heard"
                return Readiness(good=answer, why=f"not known whether: {why}" if unsure else why)
    return Readiness(good=True)


def _negated(held: bool | None) -> bool | None:
    return None if held is None else not held


def _sees_a_peer(bfd: tuple[bool | None, ...]) -> bool | None:
    if not bfd or any(bfd):
        return True
    return None if None in bfd else False


@dataclass(slots=True)
class ReadinessWatch:
    """Since when gateways are good: fed with facts and moments, in their order."""

    lost_after_s: float
    """One that was not known to be good for so long is lost."""
    since_s: dict[str, float] = field(default_factory=dict)
    """Good now, and since when."""
    verdicts: dict[str, Readiness] = field(default_factory=dict)
    _missed_since_s: dict[str, float] = field(default_factory=dict)
    """Not known to be good, and since when."""
    _incarnations: dict[str, str] = field(default_factory=dict)
    _behind_since_s: dict[str, float] = field(default_factory=dict)

    def look(self, gateways: Iterable[GatewayFacts], now_s: float) -> Mapping[str, float]:
        """Take in what is known now; return those known to be good, and since when."""
        for facts in gateways:
            name = facts.name
            if facts.behind:
                self._behind_since_s.setdefault(name, now_s)
            else:
                self._behind_since_s.pop(name, None)
            behind_for_s = now_s - self._behind_since_s.get(name, now_s)
            verdict = self.verdicts[name] = judge_readiness(facts, behind_for_s=behind_for_s)
            if not verdict.good or self._incarnations.get(name, facts.incarnation) != facts.incarnation:
                self.since_s.pop(name, None)
            if verdict.good:
                self.since_s.setdefault(name, now_s)
                self._missed_since_s.pop(name, None)
            else:
                self._missed_since_s.setdefault(name, now_s)
            self._incarnations[name] = facts.incarnation
        return dict(self.since_s)

    def lost(self, now_s: float) -> frozenset[str]:
        """Return those that were not known to be good for long. With none that is good, it is we who are blind."""
        if not self.since_s:
            return frozenset()
        return frozenset(name for name, since_s in self._missed_since_s.items() if now_s - since_s >= self.lost_after_s)
