"""What a drill found, in the form that people and programs read. This module must never decide anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Outcome(Enum):
    """The verdict of one run."""

    PASS = "pass"
    FAIL = "fail"
    INVALID = "invalid"
    """The run proves nothing: the load was below its floor, or the fault did not bite."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One thing that happened; `at_ms` counts from the fault."""

    at_ms: float
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillResult:
    """One run of a drill."""

    name: str
    outcome: Outcome
    reasons: Sequence[str]
    """Why the outcome is not pass."""
    seed: int
    outage_ms: float | None
    """Largest gap between packets delivered to a workload, over all streams; None when the run is invalid."""
    detect_limit_ms: float
    """What BFD needs to notice the loss, by its timers: no failover can be faster."""
    return_outage_ms: float | None
    """Largest gap while the broken gateway came back."""
    back_in_service_ms: float | None
    """From the fault until the gateway was in service again; None if it did not come back in time."""
    noise_ms: float
    """Largest gap before the fault: what this machine does to packets when nothing is broken."""
    streams: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    timeline: Sequence[Moment] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the result as `-o json` prints it; milliseconds have one decimal."""
        return {
            "name": self.name,
            "outcome": self.outcome.value,
            "reasons": list(self.reasons),
            "seed": self.seed,
            "outage_ms": _rounded(self.outage_ms),
            "detect_limit_ms": _rounded(self.detect_limit_ms),
            "return_outage_ms": _rounded(self.return_outage_ms),
            "back_in_service_ms": _rounded(self.back_in_service_ms),
            "noise_ms": _rounded(self.noise_ms),
            "streams": {
                name: {key: _rounded(value) for key, value in figures.items()} for name, figures in self.streams.items()
            },
            "timeline": [{"at_ms": _rounded(moment.at_ms), "what": moment.what} for moment in self.timeline],
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
