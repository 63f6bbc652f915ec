"""Flows that are spread over several gateways: which of them a fault was felt by, and that the others were spared.

Pure. Which gateway a flow took is not asked of anybody: one that waited for longer than half of what the detector needs
was on the gateway that was hit, for nothing else makes it wait so long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SPREAD = "spread-"
"""What the names of such streams begin with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spreading:
    """How a fault met the flows."""

    flows: int
    felt: int
    """Flows that waited for the detector."""
    spared_outage_ms: float
    """Largest gap of the others."""

    @property
    def felt_share(self) -> float:
        """Share of the flows that felt it."""
        return self.felt / self.flows

    def to_json(self) -> dict[str, float]:
        """Return it as `verdict.json` holds it."""
        return {
            "flows": self.flows,
            "felt": self.felt,
            "felt_share": round(self.felt_share, 2),
            "spared_outage_ms": round(self.spared_outage_ms, 1),
        }

    def wrong(self, limit_ms: float) -> list[str]:
        """Return what contradicts that one of several gateways was hit and the others were not."""
        if self.felt == 0:
            return ["no flow was on the gateway that was hit"]
        if self.felt == self.flows:
            return [f"all {self.flows} flows felt it: they were not spread"]
        if self.spared_outage_ms > limit_ms:
            waited = f"flows through other gateways waited up to {self.spared_outage_ms:.0f} ms"
            return [f"{waited}, the limit is {limit_ms:.0f} ms"]
        return []


def spreading(outages_ms: Mapping[str, float], detect_limit_ms: float) -> Spreading | None:
    """Return how the flows among the streams met the fault, by each stream's largest gap; None without such flows."""
    gaps_ms = [gap_ms for name, gap_ms in outages_ms.items() if name.startswith(SPREAD)]
    spared = [gap_ms for gap_ms in gaps_ms if gap_ms < detect_limit_ms / 2]
    if not gaps_ms:
        return None
    return Spreading(flows=len(gaps_ms), felt=len(gaps_ms) - len(spared), spared_outage_ms=max(spared, default=0.0))
