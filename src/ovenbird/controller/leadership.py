"""One candidate's part in the election, and the only way in which this process writes to NB.

It acts out what `ovenbird.plan.election` decides. Whoever wants to write to NB goes through `commit`, so that no
transaction can leave without the fence, and every one that comes back proves that this leader lives.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Protocol

from ovenbird.controller.events import (
    LEADERSHIP_CLAIM_FAILED,
    LEADERSHIP_LOST,
    LEADERSHIP_TAKEN,
    LEADERSHIP_WON,
    Events,
)
from ovenbird.controller.fence import FENCE_INDEX, begin_fenced, claim_nb, doubt_in_store, raise_epoch, stamp
from ovenbird.controller.progress import Progress
from ovenbird.ovsdb import Client, DeadlineExceeded, OvsdbError, Result, Transaction, WaitFailed
from ovenbird.plan.election import (
    Beat,
    Claim,
    Control,
    Decision,
    Idle,
    Queue,
    Resign,
    Sight,
    Tenure,
    Timers,
    Why,
    decide,
    stand_again_s,
)
from ovenbird.plan.pulse import Ask, Doubt, Pulse, evidence

LOCK = "ovenbird_controller"
RELEASE_TIMEOUT_S = 2.0
ANSWER_TIMEOUT_S = 1.0
"""Longest time for NB's leader to answer one who is about to rob."""


class LeadershipLost(Exception):
    """Not the leader (any more); nothing of the write took effect."""


class StoreSight(Protocol):
    """What a candidate needs to see of the Ovenbird database."""

    client: Client

    @property
    def epoch(self) -> int | None:
        """Epoch there; None while unknown."""

    @property
    def is_readable(self) -> bool:
        """Whether this version can read everything that is declared."""


class NbSight(Protocol):
    """What a candidate needs to see of NB."""

    client: Client

    @property
    def control(self) -> Control | None:
        """Our row there; None while unknown."""


class PulseSight(Protocol):
    """What a candidate needs to see of the acting controller's heartbeat."""

    @property
    def has_place(self) -> bool:
        """Whether the database has a place for heartbeats."""

    @property
    def pulse(self) -> Pulse | None:
        """The heartbeat; None while unknown."""

    @property
    def last(self) -> Pulse | None:
        """The heartbeat as it was last seen, current or not."""

    def thefts(self) -> int:
        """Return how often a place was taken of late from one who had hardly begun."""


class Leadership:
    """A candidate. `run` until cancelled; `wake` when what it sees may have changed; `progress`: of who acts by it."""

    def __init__(
        self,
        name: str,
        store: StoreSight,
        nb: NbSight,
        pulses: PulseSight,
        events: Events,
        *,
        timers: Timers | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.timers = timers or Timers()
        self._store = store
        self._nb = nb
        self._pulses = pulses
        self._events = events
        self._clock = clock
        self.progress = Progress(clock)
        self._lock = store.client.lock(LOCK)
        self._control = Control()
        self.confirmed = Control()
        """Our row in NB as our last confirmed transaction left it."""
        self._tenure: Tenure | None = None
        self._failures = 0
        self._stand_from_s = 0.0
        self._drop_lock = False
        self._looked_s = clock()
        self._paused_s = 0.0
        """Time between the two latest looks."""
        self._doubt: Doubt | None = None
        self._woken = asyncio.Event()
        self._writing = asyncio.Lock()
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self._listeners: list[Callable[[], None]] = []

    @property
    def is_leader(self) -> bool:
        """Whether this process believes that it may act. The fence knows better."""
        return self._tenure is not None

    @property
    def epoch(self) -> int | None:
        """Epoch of this process's leadership; None when it does not lead."""
        return self._tenure.epoch if self._tenure else None

    @property
    def holder(self) -> str:
        """Who leads, as far as NB says; "" when unknown."""
        seen = self._nb.control.holder if self._nb.control else ""
        return self.name if self._tenure is not None else seen

    @property
    def committed_revision(self) -> int:
        """Declared revision that this leader last wrote to NB."""
        return self._control.revision

    def on_change(self, listener: Callable[[], None]) -> None:
        """Have a function called when leadership was won or lost. It must not block."""
        self._listeners.append(listener)

    def wake(self) -> None:
        """Look again: something that a candidate sees has changed."""
        self._woken.set()

    async def run(self) -> None:
        """Stand for election, lead, give up, and so on."""
        watcher = asyncio.create_task(self._watch_lock(), name="election-lock")
        try:
            while True:
                self._woken.clear()
                sight = self._sight()
                self._paused_s, self._looked_s = sight.now_s - self._looked_s, sight.now_s
                await self._act(decide(sight, self.timers))
                if self._drop_lock:
                    await self._release()
        finally:
            if self._tenure is not None:
                self._resign(Why.STOPPED)
            for job in (watcher, *self._jobs.values()):
                job.cancel()
            await asyncio.gather(watcher, *self._jobs.values(), return_exceptions=True)
            self._jobs.clear()
            await self._release()

    async def commit(
        self,
        comment: str,
        fill: Callable[[Transaction], None] = lambda _: None,
        *,
        rows: int = 0,
        revision: int | None = None,
        on_sent: Callable[[], None] | None = None,
    ) -> Result:
        """Write to NB what `fill` puts into a fenced transaction, about so many rows; say which revision NB then holds.

        `on_sent` is called when all of it is on its way.
        LeadershipLost: nothing was written. TransactionError: refused, nothing was written (`operation_index` counts
        the fence). ConnectionLost and DeadlineExceeded: look before writing again.
        """
        async with self._writing:
            tenure = self._tenure
            if tenure is None:
                raise LeadershipLost("not the leader")
            # Counted even if the outcome stays unknown: a repeated beat would change nothing, and so prove nothing.
            self._control = control = replace(self._control, beat=self._control.beat + 1)
            if revision is not None:
                control = replace(control, revision=revision)
            txn = begin_fenced(tenure.epoch, comment)
            fill(txn)
            stamp(txn, control)
            sent_s = self._clock()
            self._set_tenure(tenure.epoch, in_flight_rows=rows)
            try:
                result = await self._send(txn, rows, on_sent)
            except BaseException:
                # The time that a great write was allowed is not held against its leader once it has failed.
                allowed_s = min(self._clock() - sent_s, self.timers.row_s * rows)
                self._set_tenure(tenure.epoch, in_flight_rows=None, confirmed_s=tenure.confirmed_s + allowed_s)
                raise
            self._control = self.confirmed = control
            self._set_tenure(tenure.epoch, in_flight_rows=None, confirmed_s=self._clock())
            return result

    async def _send(self, txn: Transaction, rows: int, on_sent: Callable[[], None] | None) -> Result:
        timeout_s = self.timers.deadline_s + self.timers.row_s * rows
        client = self._nb.client
        try:
            await client.wait_connected(timeout_s=timeout_s)
            return await client.transact(txn, timeout_s=timeout_s, on_sent=on_sent)
        except WaitFailed as error:
            if error.operation_index != FENCE_INDEX:
                raise
            self._resign(Why.FENCED)
            raise LeadershipLost(str(error)) from error

    def _set_tenure(self, epoch: int, **fields: Any) -> None:
        if self._tenure is not None and self._tenure.epoch == epoch:
            self._tenure = replace(self._tenure, **fields)
            self._woken.set()

    def _sight(self) -> Sight:
        return Sight(
            now_s=self._clock(),
            lock_held=self._lock.held,
            store_epoch=self._store.epoch,
            nb=self._nb.control,
            tenure=self._tenure,
            stand_from_s=self._stand_from_s,
            fit=self._store.is_readable,
            busy_since_s=self.progress.busy_since_s,
            looked_s=self._looked_s,
            pulse=self._pulses.pulse,
            doubt=self._doubt,
            thefts=self._pulses.thefts(),
        )

    async def _act(self, decision: Decision) -> None:
        match decision:
            case Claim():
                await self._claim(decision)
            case Resign(why=why):
                self._resign(why)
            case Beat():
                # A job of its own: while NB does not answer, a lost lock must still be noticed.
                self._start("beat", self._beat())
                await self._sleep(None)
            case Queue(until_s=until_s):
                self._start("queue", self._queue())
                await self._sleep(until_s)
            case Ask(pulse=pulse):
                self._start("doubt", self._ask(pulse))
                await self._sleep(None)
            case Idle(until_s=until_s):
                await self._sleep(until_s)

    async def _sleep(self, until_s: float | None) -> None:
        if self._tenure is not None:
            # Who acts looks often enough to know afterwards when it was not run.
            latest_s = self._clock() + self.timers.pulse.beat_s
            until_s = latest_s if until_s is None else min(until_s, latest_s)
        # Not wait_for: in Python 3.11 it loses a cancellation that comes together with the result.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if until_s is None else max(0.0, until_s - self._clock())):
                await self._woken.wait()

    def _start(self, name: str, work: Coroutine[None, None, None]) -> None:
        if name in self._jobs:
            work.close()
            return
        job = asyncio.create_task(work, name=f"election-{name}")
        self._jobs[name] = job
        job.add_done_callback(lambda _: self._done(name))

    def _done(self, name: str) -> None:
        self._jobs.pop(name, None)
        self._woken.set()

    async def _beat(self) -> None:
        with contextlib.suppress(LeadershipLost, OvsdbError):
            await self.commit("heartbeat")

    async def _queue(self) -> None:
        with contextlib.suppress(OvsdbError):
            await self._store.client.wait_connected(timeout_s=self.timers.deadline_s)
            await self._lock.acquire()

    async def _ask(self, pulse: Pulse) -> None:
        """Find out whether the database takes writes though the heartbeat stands still."""
        try:
            await self._store.client.transact(doubt_in_store(pulse, self.name), timeout_s=self.timers.deadline_s)
        except OvsdbError:
            await asyncio.sleep(self.timers.look_again_s)
        else:
            self._doubt = Doubt(epoch=pulse.epoch, beat=pulse.beat, at_s=self._clock())

    async def _watch_lock(self) -> None:
        while True:
            await self._lock.changed()
            self._woken.set()

    async def _claim(self, claim: Claim) -> None:
        why = Why.STORE_HUNG
        try:
            if not await self._raise_epoch(claim):
                return
            why = Why.NB_HUNG
            txn, control = claim_nb(claim, self.name)
            await self._nb.client.transact(txn, timeout_s=self.timers.deadline_s)
        except DeadlineExceeded as error:
            self._events.emit(LEADERSHIP_CLAIM_FAILED, epoch=claim.epoch, error=str(error))
            self._step_back(why)
        except OvsdbError as error:
            # What was seen is out of date, somebody else was faster, or a server has just gone: look again.
            self._events.emit(LEADERSHIP_CLAIM_FAILED, epoch=claim.epoch, error=str(error))
            await self._sleep(self._clock() + self.timers.courtesy_s)
        else:
            self._failures = 0
            self._control = self.confirmed = control
            self._tenure = Tenure(epoch=claim.epoch, confirmed_s=self._clock())
            self._events.emit(LEADERSHIP_WON, epoch=claim.epoch)
            self._tell()

    async def _raise_epoch(self, claim: Claim) -> bool:
        """Become the holder in the Ovenbird database, with the lock; whether it came to that."""
        robbed = claim.robbed
        if robbed is not None and not await self._nb_answers():
            return False
        taken = evidence(robbed, self._clock()) if robbed is not None else ""
        txn = raise_epoch(claim, self.name, beats=self._pulses.has_place, taken=taken)
        try:
            await self._store.client.transact(txn, timeout_s=self.timers.deadline_s)
        except WaitFailed:
            if robbed is None:
                raise
            # It lives, or another candidate was faster.
            await self._sleep(self._clock() + self.timers.look_again_s)
            return False
        if robbed is not None:
            self._events.emit(LEADERSHIP_TAKEN, epoch=claim.epoch, evidence=taken)
            await self._lock.steal()
        return True

    async def _nb_answers(self) -> bool:
        """Whether NB's leader answers: who cannot write there does not rob."""
        try:
            await self._nb.client.echo(timeout_s=ANSWER_TIMEOUT_S)
        except OvsdbError:
            await self._sleep(self._clock() + self.timers.look_again_s)
            return False
        return True

    def _resign(self, why: Why) -> None:
        if self._tenure is not None:
            epoch, self._tenure = self._tenure.epoch, None
            fields: dict[str, Any] = {"epoch": epoch, "why": why.value}
            if why is Why.PAUSED:
                fields["paused_s"] = round(self._paused_s, 1)
            if (pulse := self._pulses.last) is not None and pulse.epoch > epoch:
                fields |= {"by": pulse.holder, "taken": pulse.taken}
            self._events.emit(LEADERSHIP_LOST, **fields)
            self._tell()
        self._step_back(why)

    def _step_back(self, why: Why) -> None:
        self._failures += why.is_hang
        self._stand_from_s = stand_again_s(why, self._failures, self._clock(), self.timers)
        self._drop_lock = why is not Why.LOCK_LOST
        self._woken.set()

    async def _release(self) -> None:
        self._drop_lock = False
        if (queue := self._jobs.get("queue")) is not None:
            queue.cancel()
            await asyncio.wait((queue,))
        with contextlib.suppress(TimeoutError, OvsdbError):
            async with asyncio.timeout(RELEASE_TIMEOUT_S):
                await self._lock.release()

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()
