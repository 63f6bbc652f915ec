"""One history told by several members of a RAFT database, each of which may lag behind the others.

Every member shows a prefix of the same log. So what a member says is news only if it goes beyond what is known already;
a follower that comes late, or a member that was cut off and shows an old state, must not look like a change back.
Pure: this module must never read a clock.
"""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class MergedHistory(Generic[T]):
    """The states of one thing, in the order of the log."""

    def __init__(self, *, recurs: bool) -> None:
        """`recurs`: whether the thing may come back to a state that it was in before."""
        self.states: list[T] = []
        self._recurs = recurs
        self._seen: dict[str, int] = {}
        """Connected member -> how many of the states it has shown."""

    def heard(self, member: str, state: T, *, first: bool = False) -> bool:
        """Take in what a member shows; return whether it is news. `first`: right after it was (re)connected to."""
        seen = self._seen.get(member, 0)
        if not first and seen and self.states[seen - 1] == state:
            return False
        known = self._late(state) if first else self._ahead(state, seen)
        if known is None:
            self.states.append(state)
        self._seen[member] = len(self.states) if known is None else known + 1
        return known is None

    def lost(self, member: str) -> None:
        """Forget where a member is: it cannot be heard any more."""
        self._seen.pop(member, None)

    def _ahead(self, state: T, seen: int) -> int | None:
        """Return where a member finds its next state among those that others have shown already."""
        return next((at for at in range(seen, len(self.states)) if self.states[at] == state), None)

    def _late(self, state: T) -> int | None:
        """Return which known state a member that was just connected to is in.

        Nobody who was there all along vouches for the last one: then a state that may recur has perhaps done so.
        """
        vouched = len(self.states) in self._seen.values()
        oldest = len(self.states) - 1 if self._recurs and not vouched else 0
        return next((at for at in reversed(range(max(0, oldest), len(self.states))) if self.states[at] == state), None)
