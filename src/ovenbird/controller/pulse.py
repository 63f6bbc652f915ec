"""The acting controller's heartbeat in the Ovenbird database: beaten by whoever acts, and seen by all candidates.

It has a table and a monitor of its own, so that a beat wakes nothing but the elections of central hosts. Beats do not
go the way of great transactions (`Client`'s `bulk_operations`), and one is under way at a time. It decides nothing.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from ovenbird.controller.events import Events
from ovenbird.controller.fence import PULSE_TABLE, beat_in_store
from ovenbird.controller.watch import Watch
from ovenbird.ovsdb import Client, OvsdbError, Replica
from ovenbird.ovsdb.session import Session
from ovenbird.plan.pulse import Pulse, PulseTimers
from ovenbird.process.pace import next_beat

BEAT_TIMEOUT_S = 2.0


class PulseWatch(Watch[[]]):
    """What this candidate sees of the heartbeat. An async context manager."""

    def __init__(
        self, client: Client, events: Events, timers: PulseTimers, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        replica = Replica(client, {PULSE_TABLE: ("epoch", "holder", "beat", "taken")})
        super().__init__("pulse-watch", replica, events)
        self._client = client
        self._timers = timers
        self._clock = clock
        self._pulse: Pulse | None = None
        self._session: Session | None = None
        self._session_since_s = 0.0
        self._thefts: deque[float] = deque()

    @property
    def has_place(self) -> bool:
        """Whether the database has a place for heartbeats."""
        return self.replica.has(PULSE_TABLE)

    @property
    def pulse(self) -> Pulse | None:
        """The heartbeat; None while it is unknown, and when nobody has ever beaten."""
        session = self._client.session
        if session is not self._session:
            # Who was away does not know for how long it has stood still.
            self._session, self._session_since_s = session, self._clock()
        if self._pulse is None or not self.replica.synced:
            return None
        if self._pulse.since_s >= self._session_since_s:
            return self._pulse
        return replace(self._pulse, since_s=self._session_since_s)

    @property
    def last(self) -> Pulse | None:
        """The heartbeat as it was last seen, current or not."""
        return self._pulse

    def thefts(self) -> int:
        """Return how often a place was taken of late from one who had hardly begun, as far as was seen here."""
        while self._thefts and self._thefts[0] < self._clock() - self._timers.memory_s:
            self._thefts.popleft()
        return len(self._thefts)

    async def _pump(self) -> None:
        async for changes in self.replica.changes():
            before = self._pulse
            for row in changes.rows:
                if row.new is not None:
                    self._see(row.new["epoch"], row.new["holder"], row.new["beat"], row.new["taken"])
            if self._pulse is not before:
                self._tell()

    def _see(self, epoch: int, holder: str, beat: int, taken: str) -> None:
        before = self._pulse
        if before is not None and (before.epoch, before.beat) == (epoch, beat):
            return
        if before is not None and before.epoch != epoch and taken and before.beat < self._timers.settled_beats:
            self._thefts.append(self._clock())
        self._pulse = Pulse(epoch=epoch, holder=holder, beat=beat, since_s=self._clock(), taken=taken)


async def beat_for_ever(
    client: Client, watch: PulseWatch, timers: PulseTimers, epoch: Callable[[], int | None]
) -> None:
    """Beat while this process acts; `epoch` says in which epoch it does."""
    beat, beaten = 0, None
    while True:
        await next_beat(timers.beat_s)
        acting = epoch()
        if acting is None or not watch.has_place:
            continue
        beat, beaten = (beat + 1 if acting == beaten else 1), acting
        # Refused or lost: the epoch is over, which the election sees for itself, or the next beat may come through.
        with contextlib.suppress(OvsdbError):
            await client.transact(beat_in_store(acting, beat), timeout_s=BEAT_TIMEOUT_S)
