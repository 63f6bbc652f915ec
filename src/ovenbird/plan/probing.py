"""From single answers to a state with hysteresis: what one measurement says after so many good and bad tries.

Pure: whoever measures feeds outcomes in. What never answered was never good, so its silence proves nothing: unknown.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ovenbird.plan.fitness import State

TRIES_TO_LEAVE = 3
TRIES_TO_RETURN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Probing:
    """A row of tries of the same kind."""

    state: State = State.UNKNOWN
    missed: int = 0
    """In a row."""
    answered: int = 0
    """In a row."""

    def heard(self) -> Probing:
        """Return what is known after an answer."""
        answered = self.answered + 1
        good = self.state is not State.BAD or answered >= TRIES_TO_RETURN
        return replace(self, state=State.OK if good else State.BAD, answered=answered, missed=0)

    def silence(self) -> Probing:
        """Return what is known after a try without an answer."""
        missed = self.missed + 1
        bad = self.state is State.OK and missed >= TRIES_TO_LEAVE
        return replace(self, state=State.BAD if bad else self.state, missed=missed, answered=0)
