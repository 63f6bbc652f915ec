"""Has a change reached every chassis? Judges, per chassis, from what is known: done, lagging or dead.

NB's `hv_cfg` cannot be asked: it is the minimum over all chassis, so one dead chassis holds it back for ever, and with
no chassis it is reached at once (ovn-nb(5), NB_Global). So each is judged by its own `Chassis_Private.nb_cfg`.

Unknown is not down: a chassis is called dead only on evidence, which the verdict's sentence names. Evidence is its own
agent's word that ovn-controller does not run, or two independent silences at once: no heartbeat of its agent, and no
progress in SB although the change has been there as long. Anything less is lagging.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

DEAD_AFTER_S = 20.0
"""Silence that counts: four missed heartbeats of an agent."""


class Realised(Enum):
    """How far a change has come."""

    DONE = "done"
    LAGGING = "lagging"
    DEAD = "dead"


@dataclass(frozen=True, slots=True, kw_only=True)
class SouthboundFacts:
    """What NB and SB say of the change; None for what could not be asked."""

    sb_cfg: int | None = None
    """`NB_Global.sb_cfg`: the latest nb_cfg that northd has written to SB."""
    waiting_s: float | None = None
    """For how long SB has had the target: now minus the moment at which sb_cfg was first seen to reach it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChassisFacts:
    """What is known of one chassis; None for what could not be asked."""

    name: str
    registered: bool | None = None
    """Whether SB has both its Chassis and its Chassis_Private row; one without the other is not registered."""
    nb_cfg: int | None = None
    """`Chassis_Private.nb_cfg`."""
    nb_cfg_age_s: float | None = None
    """Since `Chassis_Private.nb_cfg_timestamp`."""
    heartbeat_age_s: float | None = None
    """Since the host's agent last wrote its row."""
    controller_running: bool | None = None
    """What the host's agent last said of its ovn-controller; it counts only while the heartbeat is fresh."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChassisVerdict:
    """One chassis, judged."""

    name: str
    state: Realised
    nb_cfg: int | None
    detail: str
    """A sentence that names the evidence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RealisedVerdict:
    """The whole network, judged. DEAD: all that can still answer are done, so waiting longer is pointless."""

    state: Realised
    nb_cfg: int
    detail: str
    chassis: tuple[ChassisVerdict, ...]


def judge_realised(
    target: int, southbound: SouthboundFacts, chassis: Sequence[ChassisFacts], *, dead_after_s: float = DEAD_AFTER_S
) -> RealisedVerdict:
    """Judge whether nb_cfg `target` is realised on every chassis given: those in SB and those that should be there."""
    verdicts = tuple(
        _judge_chassis(target, southbound, facts, dead_after_s) for facts in sorted(chassis, key=lambda c: c.name)
    )
    state, detail = _judge_all(target, southbound, verdicts)
    return RealisedVerdict(state=state, nb_cfg=target, detail=detail, chassis=verdicts)


def _judge_all(target: int, southbound: SouthboundFacts, verdicts: Sequence[ChassisVerdict]) -> tuple[Realised, str]:
    reached = southbound.sb_cfg is not None and southbound.sb_cfg >= target
    if (not reached and any(verdict.state is not Realised.DONE for verdict in verdicts)) or not (reached or verdicts):
        return Realised.LAGGING, _northd_detail(target, southbound)
    for state, words in ((Realised.LAGGING, "not there yet"), (Realised.DEAD, "dead")):
        names = [verdict.name for verdict in verdicts if verdict.state is state]
        if names:
            return state, f"{len(names)} of {len(verdicts)} chassis {words}: {', '.join(names)}"
    if not verdicts:
        return Realised.DONE, f"nb_cfg {target} is in SB; there is no chassis to realise it"
    return Realised.DONE, f"nb_cfg {target} is realised on all {len(verdicts)} chassis"


def _northd_detail(target: int, southbound: SouthboundFacts) -> str:
    if southbound.sb_cfg is None:
        return f"it is not known whether northd has written nb_cfg {target} to SB"
    return f"northd has written nb_cfg {southbound.sb_cfg} to SB, not yet {target}"


def _judge_chassis(
    target: int, southbound: SouthboundFacts, facts: ChassisFacts, dead_after_s: float
) -> ChassisVerdict:
    state, detail = _state_of(target, southbound, facts, dead_after_s)
    return ChassisVerdict(name=facts.name, state=state, nb_cfg=facts.nb_cfg, detail=detail)


def _state_of(
    target: int, southbound: SouthboundFacts, facts: ChassisFacts, dead_after_s: float
) -> tuple[Realised, str]:
    if facts.nb_cfg is not None and facts.nb_cfg >= target and facts.registered is not False:
        return Realised.DONE, f"has realised nb_cfg {facts.nb_cfg}"
    place = _place(target, facts)
    beat = facts.heartbeat_age_s
    fresh = beat is not None and beat <= dead_after_s
    if fresh and facts.controller_running is False:
        return Realised.DEAD, f"{place}; its agent says, {_age(beat)} ago, that ovn-controller does not run"
    if beat is None:
        return Realised.LAGGING, f"{place}; nothing is known of its agent"
    if fresh:
        running = "runs" if facts.controller_running else "may run: its agent could not ask"
        return Realised.LAGGING, f"{place}; its agent wrote {_age(beat)} ago; ovn-controller {running}"
    waiting = southbound.waiting_s
    if waiting is not None and waiting > dead_after_s and facts.registered is not None:
        return Realised.DEAD, f"{place} for {_age(waiting)} and its agent has been silent for {_age(beat)}"
    return Realised.LAGGING, f"{place}; its agent has been silent for {_age(beat)}"


def _place(target: int, facts: ChassisFacts) -> str:
    if facts.registered is False:
        return "is not registered in SB"
    if facts.nb_cfg is None:
        return f"is not known to have realised nb_cfg {target}"
    age = f" (since {_age(facts.nb_cfg_age_s)})" if facts.nb_cfg_age_s is not None else ""
    return f"has realised nb_cfg {facts.nb_cfg}{age}, not yet {target}"


def _age(seconds: float | None) -> str:
    return "an unknown time" if seconds is None else f"{seconds:.0f} s"
