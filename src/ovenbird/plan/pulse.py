"""Whether a candidate may take the place of a controller that holds the lock and gives no sign of life. Pure.

The acting controller beats in the Ovenbird database, where the lock is. A beat that stands still is no proof yet: the
database may be busy or without a leader, or this candidate cut off. So time counts only while the database is in sight,
a doubt is written there first (a commit, so it could be written), and the holder has its time after that.
What takes the place is a transaction that fails if the beat has moved after all (`controller.fence.raise_epoch`).
This module must never let a holder be robbed that has not beaten in its own epoch: an older version does not beat.
"""

from __future__ import annotations

from dataclasses import dataclass

PATIENCE_DOUBLINGS = 3
"""With so many nobody is robbed sooner than the database server itself gives a silent client up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PulseTimers:
    """Times of the heartbeat in the Ovenbird database, in seconds."""

    beat_s: float = 1.0
    """The acting controller beats this often."""
    doubt_s: float = 2.0
    """A beat that has stood still for so long is doubted: one was missed, and the next is late."""
    grace_s: float = 1.0
    """Time to beat once the database has committed a doubt: it works, and nothing else keeps the holder from it."""
    settled_beats: int = 3
    """A holder that was robbed before so many beats may just have been too busy to begin."""
    memory_s: float = 120.0
    """Each such theft makes all candidates twice as patient for so long: machines too busy to beat must not go on to
    rob each other in turn. One that had settled and then falls silent hangs, however soon after another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """The acting controller's heartbeat as this candidate sees it."""

    epoch: int
    holder: str
    beat: int
    since_s: float
    """Since when it has been so here, with the database in sight all the time; by this process's clock."""
    taken: str = ""
    """From whom this holder took its place, and on what evidence; "" when the lock was free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A doubt that the database has committed while the heartbeat stood at this beat."""

    epoch: int
    beat: int
    at_s: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do about this heartbeat before this time."""

    until_s: float


@dataclass(frozen=True, slots=True)
class Ask:
    """Write a doubt about this heartbeat."""

    pulse: Pulse


@dataclass(frozen=True, slots=True)
class Take:
    """Take the place of the holder of this heartbeat."""

    pulse: Pulse


def suspect(pulse: Pulse, doubt: Doubt | None, thefts: int, now_s: float, timers: PulseTimers) -> Wait | Ask | Take:
    """Return what to do about a heartbeat; `thefts` counts those from unsettled holders in the last `memory_s`."""
    patience = 2 ** min(thefts, PATIENCE_DOUBLINGS)
    if doubt is None or (doubt.epoch, doubt.beat) != (pulse.epoch, pulse.beat) or doubt.at_s < pulse.since_s:
        doubt_s = pulse.since_s + patience * timers.doubt_s
        return Wait(doubt_s) if now_s < doubt_s else Ask(pulse)
    take_s = doubt.at_s + patience * timers.grace_s
    return Wait(take_s) if now_s < take_s else Take(pulse)


def evidence(pulse: Pulse, now_s: float) -> str:
    """Return why the place of this heartbeat's holder is taken, for people."""
    still_s = now_s - pulse.since_s
    which = f"beat {pulse.beat} of epoch {pulse.epoch}"
    return f"from {pulse.holder}: {which} stood still for {still_s:.1f} s, though writes were taken"
