"""How long to pause before the next attempt: a pure value, so that it can be reasoned about and simulated.

It must never sleep, read a clock or keep state; the randomness is handed in.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential back-off with full-range jitter: many clients that lost one server do not return as one herd."""

    first_ms: int = 50
    """Pause after the first failure. Short: a RAFT election takes about one second, and we want to be there."""
    cap_ms: int = 2000
    """Longest pause. An operator who repairs a server does not want to wait for us."""
    factor: float = 1.7
    jitter: float = 0.5
    """Part of the pause that is random: 0.5 gives pauses between 50 % and 100 % of the nominal one."""

    def delay_ms(self, failures: int, random: float) -> float:
        """Return the pause after that many failures in a row (0: none); `random` is in [0, 1)."""
        if failures <= 0:
            return 0.0
        exponent = min(failures - 1, 64)
        nominal = min(float(self.cap_ms), self.first_ms * self.factor**exponent)
        return nominal * (1.0 - self.jitter * random)
