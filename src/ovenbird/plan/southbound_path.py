"""Where a gateway's ovn-controller gets SB from: the members, or a copy of its own while no member can be had.

ovn-controller takes a router over only while it is connected to a SB. With the central tier away a gateway therefore
serves itself a copy, made in the moment of the loss. Pure: what is seen comes in, one step comes out. It must never
leave members that work, nor go to a copy that nobody could make.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

LOST_S = 2.0
"""No member for so long: the copy is made. A member that is lost alone is replaced sooner, and so is a leader."""
BACK_S = 0.5
"""A member must have been there for so long before the copy is left. Not longer: priorities may have changed meanwhile,
and a gateway that goes by the old ones takes back what is no longer its own."""


class Path(Enum):
    """Whom ovn-controller talks to."""

    MEMBERS = "members"
    COPY = "copy"


class Step(Enum):
    """What to do now."""

    STAY = "stay"
    TAKE_COPY = "take copy"
    """Make a copy from the relay, serve it, and point ovn-controller to it."""
    SERVE_OLD_COPY = "serve old copy"
    """The same with the copy that is on disk: this host was restarted while the central tier was away."""
    LEAVE_COPY = "leave copy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a host sees of SB."""

    path: Path
    members: bool
    """Whether a member that is in contact with a majority of SB is connected to."""
    for_s: float
    """For how long `members` has been what it is."""
    relay_filled: bool = False
    """Whether the local relay holds SB: it was connected to a member, and has run since."""
    copy_on_disk: bool = False
    """Whether there is a copy of this very loss."""


def next_step(seen: Seen) -> Step:
    """Return what to do now."""
    if seen.path is Path.COPY:
        return Step.LEAVE_COPY if seen.members and seen.for_s >= BACK_S else Step.STAY
    if seen.members or seen.for_s < LOST_S:
        return Step.STAY
    if seen.relay_filled:
        return Step.TAKE_COPY
    return Step.SERVE_OLD_COPY if seen.copy_on_disk else Step.STAY


def works_alone(seen: Seen, *, copy_served: bool) -> tuple[bool, str]:
    """Return whether gateways would fail over here with the central tier away, and why not."""
    if seen.path is Path.COPY:
        return copy_served, "" if copy_served else "its copy of SB is not being served"
    if seen.relay_filled:
        return True, ""
    return False, "its relay of SB holds nothing yet"
