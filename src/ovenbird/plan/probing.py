"""From single answers to a state with hysteresis: what one measurement says after so many good and bad tries.

Pure: whoever measures feeds outcomes in. What never answered was never good, so its silence proves nothing: unknown.

One unanswered try raises a doubt, and doubt is settled quickly: the next tries follow closely, until it has answered
or is bad, and some more after that, so that what answers again at once is good again before anybody has acted.
"""

from __future__ import annotations

from dataclasses import dataclass

from ovenbird.plan.fitness import State

TRIES_TO_LEAVE = 5
TRIES_TO_RETURN = 3
USUAL_S = 0.15
CLOSE_S = 0.05
SLOW_S = 1.05
"""Times between tries: of what answers; of what is in doubt; of what is silent."""
CLOSE_TRIES_WHEN_BAD = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Probing:
    """A row of tries of the same kind."""

    state: State = State.UNKNOWN
    missed: int = 0
    """In a row."""
    answered: int = 0
    """In a row."""
    tries: int = 0
    """Since it became what it is."""

    @property
    def pause_s(self) -> float:
        """Time from one try to the next, seconds: also how long the answer to a try is waited for."""
        match self.state:
            case State.OK:
                return CLOSE_S if self.missed else USUAL_S
            case State.BAD:
                return CLOSE_S if self.tries < CLOSE_TRIES_WHEN_BAD else SLOW_S
            case _:
                return SLOW_S

    def heard(self) -> Probing:
        """Return what is known after an answer."""
        answered = self.answered + 1
        good = self.state is not State.BAD or answered >= TRIES_TO_RETURN
        return self._after(State.OK if good else State.BAD, missed=0, answered=answered)

    def silence(self) -> Probing:
        """Return what is known after a try without an answer."""
        missed = self.missed + 1
        bad = self.state is State.OK and missed >= TRIES_TO_LEAVE
        return self._after(State.BAD if bad else self.state, missed=missed, answered=0)

    def _after(self, state: State, *, missed: int, answered: int) -> Probing:
        tries = self.tries + 1 if state is self.state else 0
        return Probing(state=state, missed=missed, answered=answered, tries=tries)
