"""For how long something must have been well before it counts again: longer with every relapse.

Pure; whoever judges keeps when it fell. Must never look at a clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ovenbird.model.cluster import GatewayTimes


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldDown:
    """How it grows. Seconds; moments are of any clock that only goes forward."""

    first_s: float
    longest_s: float
    memory_s: float = 900.0
    """A relapse within this time doubles the hold-down."""

    @classmethod
    def of(cls, times: GatewayTimes) -> HoldDown:
        """Return the hold-down that a cluster's gateways have."""
        return cls(first_s=times.hold_down_s, longest_s=times.longest_hold_down_s)

    def after(self, falls_s: Sequence[float], now_s: float) -> float:
        """Return for how long it must be well, if it fell at those moments, the last one included."""
        relapses = sum(at_s > now_s - self.memory_s for at_s in falls_s) - 1
        return min(self.longest_s, self.first_s * 2.0 ** min(20, max(0, relapses)))

    def noted(self, falls_s: Sequence[float], now_s: float) -> tuple[float, ...]:
        """Return those moments that still count, and this one."""
        return (*(at_s for at_s in falls_s if at_s > now_s - self.memory_s), now_s)
