"""Figures over repeats of one drill: p50, p95 and worst, in a definition that is honest with few runs.

A percentile is the smallest *measured* value that at least so many per cent of the runs did not exceed (nearest rank):
nothing is interpolated, so every figure was really seen. A p95 needs 20 runs; with fewer it would be the worst run
under a better name, and is left out. Invalid runs prove nothing and give no figure, but are counted. This module must
never read a clock or a file.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ovenbird.drill.judge import FIGURES, Outcome, Verdict

P95_RUNS = 20
"""Fewest runs with which a p95 differs from the worst."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """One figure over several runs."""

    runs: int
    """Runs that measured it."""
    best: float
    p50: float
    p95: float | None
    """None: fewer than `P95_RUNS` runs."""
    worst: float

    def to_json(self) -> dict[str, Any]:
        """Return the spread as JSON, with one decimal."""
        p95 = None if self.p95 is None else round(self.p95, 1)
        return {
            "runs": self.runs,
            "best": round(self.best, 1),
            "p50": round(self.p50, 1),
            "p95": p95,
            "worst": round(self.worst, 1),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeats:
    """All runs of one drill together; None: no run measured it."""

    outcomes: dict[str, int]
    """pass, fail, invalid -> runs."""
    outage_ms: Spread | None
    path_outage_ms: Spread | None
    tcp_outage_ms: Spread | None
    write_outage_ms: Spread | None
    nb_outage_ms: Spread | None
    return_outage_ms: Spread | None
    path_return_ms: Spread | None
    lost_ms: Spread | None
    lost_return_ms: Spread | None
    back_in_service_ms: Spread | None
    noise_ms: Spread | None
    violated: tuple[str, ...]
    """Invariants that any run violated."""

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        spreads = {name: getattr(self, name) for name in FIGURES}
        return {
            "outcomes": self.outcomes,
            **{name: spread.to_json() if spread else None for name, spread in spreads.items()},
            "violated": list(self.violated),
        }


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile; `values` must not be empty, `percent` is over 0 and at most 100."""
    ordered = sorted(values)
    return ordered[max(1, math.ceil(len(ordered) * percent / 100)) - 1]


def spread(values: Iterable[float | None]) -> Spread | None:
    """Return the spread of what was measured; None stands for a run that did not measure it."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Spread(
        runs=len(known),
        best=min(known),
        p50=percentile(known, 50),
        p95=percentile(known, 95) if len(known) >= P95_RUNS else None,
        worst=max(known),
    )


def repeats(verdicts: Sequence[Verdict]) -> Repeats:
    """Return the figures of several runs of one drill."""
    counted = Counter(verdict.outcome for verdict in verdicts)
    valid = [verdict for verdict in verdicts if verdict.outcome is not Outcome.INVALID]
    violated = {violation.invariant for verdict in valid for violation in verdict.violations}
    spreads = {name: spread(getattr(verdict.figures, name) for verdict in valid) for name in FIGURES}
    return Repeats(
        outcomes={outcome.value: counted[outcome] for outcome in Outcome},
        violated=tuple(sorted(violated)),
        **spreads,
    )
