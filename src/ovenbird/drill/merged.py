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

    def __init__(self) -> None:
        self.states: list[T] = []
        self._seen: dict[str, int] = {}
        """member -> how many of the states it has shown."""

    def heard(self, member: str, state: T, *, first: bool = False) -> bool:
        """Take in what a member shows; return whether it is news. `first`: right after it was (re)connected to."""
        if first:
            known = next((at for at in reversed(range(len(self.states))) if self.states[at] == state), None)
        else:
            seen = self._seen.get(member, 0)
            if seen and self.states[seen - 1] == state:
                return False
            known = next((at for at in range(seen, len(self.states)) if self.states[at] == state), None)
        if known is None:
            self.states.append(state)
        self._seen[member] = len(self.states) if known is None else known + 1
        return known is None
