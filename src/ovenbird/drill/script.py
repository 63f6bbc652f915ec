"""What a drill is, as data: what it needs, what it does in which order, and what must hold. Pure values only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from ovenbird.drill.judge import Expect
from ovenbird.drill.load import SPACING_MS
from ovenbird.drill.record import RunRecord

LIVE_INVARIANTS = ("realised", "no-unannounced-error")
OVERHEAD_S, HOME_S, RESTART_S = 11.0, 14.0, 6.0
"""About what a run takes besides its holds; a gateway's way home; a host's restart."""
CALM_S = 30.0
"""About how long hosts take to calm down after a crowd of routers has come, where that counts."""


@dataclass(frozen=True, slots=True)
class Inject:
    """Inject one fault on the nodes that a target names at that moment (see `targets.py`)."""

    kind: str
    target: str
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hold:
    """Leave things as they are for a while."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Heal:
    """Heal every fault that is in force."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Wait until the cluster calls itself healthy again."""

    timeout_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Count:
    """Put on record how many routers each gateway carries."""


@dataclass(frozen=True, slots=True)
class Each:
    """Do the steps once for each node of a target, in an order that follows from the seed; inside, it is "it"."""

    target: str
    steps: tuple[Inject | Hold | Heal | Ready | Count, ...]


Step = Inject | Hold | Heal | Ready | Count | Each


class Return(Enum):
    """What it means that the broken thing is back in service."""

    NONE = "none"
    HEALTHY = "healthy"
    """The cluster calls itself healthy."""
    GATEWAY = "gateway"
    """The gateway has the router again that it carried before."""


class Detector(Enum):
    """Whose timers bound how fast anything can be noticed."""

    NONE = "none"
    BFD = "bfd"
    ELECTION = "election"


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """The least lab that a drill can run on."""

    centrals: int = 1
    gateways: int = 1
    computes: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """One entry of the catalogue."""

    name: str
    what: str
    """One line for people."""
    steps: tuple[Step, ...]
    expect: Expect
    needs: Needs = Needs()
    detector: Detector = Detector.NONE
    returns: Return = Return.HEALTHY
    return_timeout_s: float = 60.0
    settle_s: float = 1.0
    """Load goes on for this long after the return, so that its cost is seen."""
    writes_per_s: float = 10.0
    spacing_ms: float = SPACING_MS
    """Between two packets of a stream: the load must leave a small machine's processors to what is measured."""
    has_sessions: bool = False
    """Whether its load is one long TCP connection over each way through the gateway, instead of the usual streams."""
    mode: str = ""
    """Mode of a second router with many flows through it (`ovenbird.drill.modes`); "": there is none."""
    announced: tuple[str, ...] = ()
    """Regular expressions of ERR/EMER log lines that this drill causes on purpose."""
    crowd: int = 0
    """Routers beside the stage's own; some of them are measured."""
    overlap_ms: float | None = None
    """How long two gateways may answer for one address, if longer than in every move."""
    is_idle: bool = False
    """Whether its stage is a router without networks and workloads, pinged from outside."""
    is_safe_live: bool = False
    """Whether an operator may run it on a live cluster."""
    has_baseline: bool = False
    """Whether stock OVN, with our agents and controllers stopped, can show another figure of it."""
    expected_failure: str = ""
    """Why it fails today; a run that fails then counts as expected, one that passes as a surprise."""

    def on(self, record: RunRecord) -> Drill:
        """Return the drill as it is held against a run: on a live cluster only what could be seen from one host."""
        if not record.meta.live:
            return self
        # Only the acting controller's host can audit.
        audited = () if record.final.plan_changes is None else ("plan-empty",)
        expect = replace(self.expect, streams={}, write_outage_ms=None, invariants=(*LIVE_INVARIANTS, *audited))
        return replace(self, expect=expect)

    @property
    def expected_s(self) -> float:
        """Roughly how long a run takes, for guessing how long many of them will."""
        more_s = (HOME_S if self.returns is Return.GATEWAY else 0.0) + (CALM_S if self.waits_for_calm else 0.0)
        return OVERHEAD_S + _held_s(self.steps) + more_s

    @property
    def waits_for_calm(self) -> bool:
        """Whether BFD, which is slower on busy hosts, must be as fast as the policy says before the fault."""
        return self.crowd > 0 and self.detector is Detector.BFD

    @property
    def faults(self) -> tuple[Inject, ...]:
        """Every injection of the script, in order."""
        found: list[Inject] = []
        for step in self.steps:
            inner = step.steps if isinstance(step, Each) else (step,)
            found += [each for each in inner if isinstance(each, Inject)]
        return tuple(found)


def _held_s(steps: Sequence[Step]) -> float:
    """Return how long a script holds; restarts of each of several nodes count for three."""
    return sum(
        step.seconds
        if isinstance(step, Hold)
        else 3 * (_held_s(step.steps) + RESTART_S)
        if isinstance(step, Each)
        else 0.0
        for step in steps
    )


def once(kind: str, target: str, *, hold_s: float = 0.0, **params: Any) -> tuple[Step, ...]:
    """Return the usual script: inject, hold, heal."""
    return (Inject(kind, target, params), Hold(hold_s), Heal()) if hold_s else (Inject(kind, target, params),)
