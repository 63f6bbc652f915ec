"""Who may act: what a controller candidate does next, from what it sees and when. Pure.

Three things make one controller act at a time. The OVSDB lock is a hint that keeps candidates from getting into each
other's way; it is local to one server process, so two may hold it. The epoch is the fence: the winner raises it in
`Cluster` and then in NB, and every NB transaction waits on it, so that whoever was superseded cannot write. A round
trip is liveness: who has not had an NB write confirmed in time gives up, held lock or not.
Who does not give up because it hangs is robbed of the lock when its heartbeat stands still (`ovenbird.plan.pulse`).
The epoch in NB may only grow: a candidate that sees a greater one there raises the one in `Cluster` beyond it.
This module must never assume that one of the three implies another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from ovenbird.plan.pulse import Ask, Doubt, Pulse, PulseTimers, Take, suspect
from ovenbird.plan.rows import row_uuid

CONTROL_TABLE = "Address_Set"
CONTROL_NAME = "ovenbird_controller"
CONTROL_UUID = row_uuid(CONTROL_TABLE, CONTROL_NAME)
"""Our row in NB. Not NB_Global, whose every change makes northd compute everything (docs/adr/0003-epoch-row.md)."""

EPOCH = "ovenbird-epoch"
HOLDER = "ovenbird-holder"
REVISION = "ovenbird-revision"
BEAT = "ovenbird-beat"


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """What our row in NB says."""

    epoch: int = 0
    holder: str = ""
    revision: int = 0
    """Declared revision that NB holds."""
    beat: int = 0
    """Grows by one per write: a write that changes nothing is never sent to the other members, so it proves nothing."""
    seen: Mapping[str, str] | None = None
    """The row's external_ids as they are; None: there is no such row."""

    def external_ids(self) -> dict[str, str]:
        """Return the row's external_ids that say this."""
        return {EPOCH: str(self.epoch), HOLDER: self.holder, REVISION: str(self.revision), BEAT: str(self.beat)}


def read_control(external_ids: Mapping[str, str] | None) -> Control:
    """Return what external_ids of our row say; None means that there is no row. What is not a number counts as 0."""
    if external_ids is None:
        return Control()
    return Control(
        epoch=_number(external_ids.get(EPOCH)),
        holder=external_ids.get(HOLDER, ""),
        revision=_number(external_ids.get(REVISION)),
        beat=_number(external_ids.get(BEAT)),
        seen=dict(external_ids),
    )


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timers:
    """Times of leadership, in seconds."""

    heartbeat_s: float = 2.0
    """An idle leader writes to NB this often."""
    deadline_s: float = 5.0
    """A leader whose last confirmed NB write is older gives up."""
    backoff_s: float = 5.0
    """How long a leader that gave up for a hung NB lets others try; doubles with every failure in a row."""
    backoff_max_s: float = 30.0
    courtesy_s: float = 1.0
    """How long a leader that was superseded lets its successor alone."""
    look_again_s: float = 0.2
    """How long a candidate that cannot see a database waits for news: that it can again changes no content."""
    row_s: float = 0.002
    """Added to the deadline per row of a transaction in flight: a great write is slow, not hung."""
    paused_s: float = 2.5
    """A leader looks at least every second; one that has not for so long was not run."""
    stuck_s: float = 60.0
    """Whose reconciler got nowhere for so long, with no write to NB under way, does not act. Its slowest steps, a plan
    for 10,000 objects in a thread or a planned move, take a tenth of that."""
    pulse: PulseTimers = field(default_factory=PulseTimers)


class Why(Enum):
    """Why leadership ended, or was not won."""

    LOCK_LOST = "lock lost"
    PAUSED = "this process did not run"
    SUPERSEDED = "epoch in the Ovenbird database changed"
    FENCED = "epoch in NB changed"
    NB_HUNG = "no NB write was confirmed in time"
    STORE_HUNG = "the Ovenbird database did not confirm in time"
    STUCK = "its reconciler does not come round"
    UNFIT = "declared objects that this version cannot read"
    STOPPED = "stopped"

    @property
    def is_hang(self) -> bool:
        """Whether others should have a try before this candidate stands again."""
        return self in (Why.NB_HUNG, Why.STORE_HUNG, Why.STUCK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenure:
    """Leadership that was won."""

    epoch: int
    confirmed_s: float
    """When NB last confirmed a write of it."""
    in_flight_rows: int | None = None
    """Rows of the write under way; None when there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What a candidate sees. None is unknown, never zero."""

    now_s: float
    lock_held: bool
    store_epoch: int | None
    nb: Control | None
    tenure: Tenure | None = None
    stand_from_s: float = 0.0
    """Not to stand before this time."""
    fit: bool = True
    """Whether this candidate understands everything that is declared."""
    busy_since_s: float | None = None
    """Since when this candidate's reconciler has got nowhere; None while it has nothing to do."""
    looked_s: float | None = None
    """When this candidate last looked."""
    pulse: Pulse | None = None
    """The acting controller's heartbeat."""
    doubt: Doubt | None = None
    """The latest doubt of this candidate."""
    thefts: int = 0
    """How often a place was taken of late from one who had hardly begun."""


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing to do before this time, unless something changes."""

    until_s: float | None = None


@dataclass(frozen=True, slots=True)
class Queue:
    """Ask for the lock (again), and look again at this time."""

    until_s: float


@dataclass(frozen=True, slots=True)
class Claim:
    """Raise the epoch in `Cluster` from `store_epoch`, then in NB from what `nb` says, to `epoch`."""

    epoch: int
    store_epoch: int
    nb: Control
    robbed: Pulse | None = None
    """Take the lock from the holder of this heartbeat, unless it has moved."""


@dataclass(frozen=True, slots=True)
class Beat:
    """Prove leadership by a write."""


@dataclass(frozen=True, slots=True)
class Resign:
    """Stop acting now."""

    why: Why


Decision = Idle | Queue | Ask | Claim | Beat | Resign


def decide(sight: Sight, timers: Timers) -> Decision:
    """Return what the candidate does next."""
    if not sight.fit:
        return Resign(Why.UNFIT) if sight.tenure or sight.lock_held else Idle()
    if _is_stuck(sight, timers):
        return Resign(Why.STUCK) if sight.tenure or sight.lock_held else Idle(sight.now_s + timers.pulse.beat_s)
    if sight.tenure is not None:
        return _as_leader(sight, sight.tenure, timers)
    if sight.now_s < sight.stand_from_s:
        return Idle(sight.stand_from_s)
    if not sight.lock_held:
        return _as_standby(sight, timers)
    if sight.store_epoch is None or sight.nb is None:
        return Idle(sight.now_s + timers.look_again_s)
    return Claim(max(sight.store_epoch, sight.nb.epoch) + 1, sight.store_epoch, sight.nb)


def _is_stuck(sight: Sight, timers: Timers) -> bool:
    """Whether the reconciler hangs. A write under way is no evidence: it has a deadline of its own."""
    writes = sight.tenure is not None and sight.tenure.in_flight_rows is not None
    return sight.busy_since_s is not None and not writes and sight.now_s - sight.busy_since_s >= timers.stuck_s


def _as_standby(sight: Sight, timers: Timers) -> Decision:
    pulse, later_s = sight.pulse, sight.now_s + timers.pulse.beat_s
    if sight.store_epoch is None or sight.nb is None:
        return Queue(sight.now_s + timers.look_again_s)  # who could not act better than the holder does not rob it
    if pulse is None or pulse.epoch != sight.store_epoch:
        return Queue(later_s)  # of this epoch's holder it is not known that it beats at all
    match suspect(pulse, sight.doubt, sight.thefts, sight.now_s, timers.pulse):
        case Take():
            return Claim(max(sight.store_epoch, sight.nb.epoch) + 1, sight.store_epoch, sight.nb, robbed=pulse)
        case Ask() as ask:
            return ask
        case waiting:
            return Queue(min(waiting.until_s, later_s))


def _as_leader(sight: Sight, tenure: Tenure, timers: Timers) -> Decision:
    if not sight.lock_held:
        return Resign(Why.LOCK_LOST)
    # Only a greater epoch is a reason: either view may lag behind the claim that was just confirmed.
    if sight.store_epoch is not None and sight.store_epoch > tenure.epoch:
        return Resign(Why.SUPERSEDED)
    if sight.nb is not None and sight.nb.epoch > tenure.epoch:
        return Resign(Why.FENCED)
    expires_s = tenure.confirmed_s + timers.deadline_s + timers.row_s * (tenure.in_flight_rows or 0)
    if sight.now_s >= expires_s:
        paused = sight.looked_s is not None and sight.now_s - sight.looked_s >= timers.paused_s
        return Resign(Why.PAUSED if paused else Why.NB_HUNG)
    if tenure.in_flight_rows is not None:
        return Idle(expires_s)
    beat_s = tenure.confirmed_s + timers.heartbeat_s
    return Beat() if sight.now_s >= beat_s else Idle(beat_s)


def stand_again_s(why: Why, failures: int, now_s: float, timers: Timers) -> float:
    """Return from when a candidate may stand again; `failures` counts hangs in a row, this one included."""
    if why.is_hang:
        return now_s + min(timers.backoff_max_s, timers.backoff_s * 2.0 ** max(0, failures - 1))
    return now_s if why is Why.LOCK_LOST else now_s + timers.courtesy_s
