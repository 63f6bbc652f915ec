"""Writing to the Ovenbird database: optimistic, one transaction at a time, and never twice.

A proposal is made from the newest state known here and commits only if the state is still that one (`wait`); else it is
made again. When the connection is lost the outcome is unknown, and is found out by looking at the state: the proposal
either shows there, or can no longer commit once another has.
What is refused, or found there already, is so only as far as is known here; another host may have been told "done"
a moment ago. So before such an answer the state catches up with the server.
It must never retry without looking, nor report success that it has not seen confirmed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar

from ovenbird.controller.events import APPLY_OUTCOME_RESOLVED, Events
from ovenbird.controller.fence import is_passing
from ovenbird.controller.state import DeclaredState, Prospect
from ovenbird.model.errors import Bug, OvenbirdError, Timeout, Unavailable
from ovenbird.ovsdb import (
    BulkLoad,
    Client,
    ConnectionLost,
    DeadlineExceeded,
    NotConnected,
    OvsdbError,
    Transaction,
    TransactionError,
    WaitFailed,
)

T = TypeVar("T")

WRITE_TIMEOUT_S = 10.0
ROW_S = 0.002
"""Added to a deadline per row written."""
NEWS_S = 0.5
"""How long to wait for the change that a conflict announced before trying again all the same."""
THREAD_OBJECTS = 500
"""From so many objects on, judging them (30 us each) would hold the event loop for too long."""
SEEN_S = 2.0
"""How long a writer waits to see its own change here before it answers."""


@dataclass(frozen=True, slots=True)
class Proposal(Generic[T]):
    """A change that was admitted on some state."""

    outcome: T
    """The answer once it is committed."""
    txn: Transaction | None
    """None: there is nothing to write."""
    is_applied: Callable[[], bool] = lambda: True
    """Whether the state shows that exactly this proposal was committed."""
    rows: int = 0
    prospect: Prospect | None = None
    """What will be declared once it is committed."""
    is_final: bool = True
    """False: it only makes way, and is to be proposed upon anew when it is committed. It does no harm twice."""


class Place(Protocol):
    """Where a writer writes."""

    client: Client
    state: DeclaredState
    events: Events
    still: asyncio.Lock
    """Held by whoever needs the state not to change while it awaits."""

    @property
    def revision(self) -> int:
        """Revision of the newest state known."""

    async def ready(self, timeout_s: float) -> None:
        """Wait until the state is current."""

    async def wait_for(self, condition: Callable[[], bool], *, timeout_s: float) -> None:
        """Wait until a condition on the state holds, or TimeoutError."""

    def foretell(self, prospect: Prospect) -> None:
        """Tell whoever can prepare for it what is being written; it may still fail."""

    def confirm(self, prospect: Prospect) -> None:
        """Tell them that it is committed, though the state may not show it yet."""

    async def catch_up(self, *, timeout_s: float) -> None:
        """Return when the state shows all that was committed before the call. Raises OvsdbError."""


class Writer:
    """All writing of one process, so that its writers do not make each other start over."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._turn = asyncio.Lock()

    async def write(self, propose: Callable[[], Proposal[T]], *, timeout_s: float, objects: int = 0) -> T:
        """Commit what `propose` proposes on the newest state; its errors go to the caller.

        With many `objects` to judge it is called in a thread: it may read the state and change nothing.

        Unavailable: nobody to ask, nothing was written. Timeout: says whether something may have been written.
        """
        is_great = objects >= THREAD_OBJECTS
        attempt = _Attempt(self._place, propose, timeout_s, in_thread=is_great)
        try:
            async with asyncio.timeout(timeout_s):
                await self._turn.acquire()
        except TimeoutError:
            raise Timeout(
                "another change is still being written", hint="nothing was changed; try again", code="busy"
            ) from None
        load = BulkLoad()
        if is_great:
            load.begin()  # what is made now stays: a look of the collector at all of it takes 0.1 s and frees nothing
        try:
            return await attempt.run()
        finally:
            load.end()
            self._turn.release()


class _Attempt(Generic[T]):
    """One write, from its first proposal to its answer."""

    def __init__(self, place: Place, propose: Callable[[], Proposal[T]], timeout_s: float, *, in_thread: bool) -> None:
        self._place = place
        self._in_thread = in_thread
        self._propose = propose
        self._clock = asyncio.get_running_loop().time
        self._timeout_s = timeout_s
        self._deadline_s = self._clock() + timeout_s
        self._unknown: Proposal[T] | None = None
        self._caught_up = False
        """Whether the state has caught up with the server since this began."""
        self._conflicts = 0
        self._last_error = ""

    async def run(self) -> T:
        while True:
            await self._ready()
            if self._unknown is not None and self._unknown.is_applied():
                self._place.events.emit(APPLY_OUTCOME_RESOLVED, revision=self._place.revision)
                return self._unknown.outcome
            version = self._place.state.version
            try:
                proposal = await self._judged()
            except OvenbirdError:
                if await self._is_newest(version):
                    raise
                continue
            if proposal.txn is None:
                if await self._is_newest(version):
                    return proposal.outcome
                continue
            if await self._send(proposal, proposal.txn):
                # So that the next writer here starts from this change, and the caller can read what it wrote.
                with contextlib.suppress(TimeoutError):
                    await self._place.wait_for(proposal.is_applied, timeout_s=SEEN_S + ROW_S * proposal.rows)
                if proposal.is_final:
                    return proposal.outcome

    async def _judged(self) -> Proposal[T]:
        if not self._in_thread:
            return self._propose()
        async with self._place.still:
            return await asyncio.to_thread(self._propose)

    @property
    def _left_s(self) -> float:
        return self._deadline_s - self._clock()

    async def _ready(self) -> None:
        if self._left_s <= 0:
            raise self._too_late()
        try:
            await self._place.ready(self._left_s)
        except Unavailable as error:
            raise (self._too_late(error) if self._unknown is not None else error) from None

    async def _is_newest(self, version: int) -> bool:
        """Whether an answer from that version of the state needs no second look."""
        if self._caught_up:
            return True
        try:
            await self._place.catch_up(timeout_s=max(0.1, self._left_s))
        except OvsdbError as error:
            self._last_error = str(error)
            return False
        self._caught_up = True
        return self._place.state.version == version

    async def _send(self, proposal: Proposal[T], txn: Transaction) -> bool:
        """Send once; whether it was confirmed."""
        before = self._place.state.version
        # What a great change needs for itself does not count against the time for finding a server.
        self._deadline_s += ROW_S * proposal.rows
        try:
            foretell = partial(self._place.foretell, proposal.prospect) if proposal.prospect else None
            await self._place.client.transact(txn, timeout_s=max(0.1, self._left_s), on_sent=foretell)
        except WaitFailed as error:
            self._conflicts += 1
            self._last_error = str(error)
        except TransactionError as error:
            if is_passing(error):
                # "lost leadership" and the like: the entry may be committed by the next leader all the same.
                self._lost_sight(proposal, error)
                return await self._news(before)
            raise Bug(
                "the database refused a change that was admitted",
                evidence=str(error),
                hint="nothing was changed; please report this with the evidence",
            ) from error
        except (ConnectionLost, DeadlineExceeded) as error:
            self._lost_sight(proposal, error)
        except NotConnected as error:
            self._last_error = str(error)
        except OvsdbError as error:
            raise Bug("a change does not fit the database's schema", evidence=str(error)) from error
        else:
            if proposal.prospect:
                self._place.confirm(proposal.prospect)
            return True
        return await self._news(before)

    def _lost_sight(self, proposal: Proposal[T], error: OvsdbError) -> None:
        self._last_error = str(error)
        if proposal.is_final:
            self._unknown = proposal

    async def _news(self, before: int) -> bool:
        """Wait a little for the state to move on from what it was; False, because nothing was confirmed."""
        with contextlib.suppress(TimeoutError):
            await self._place.wait_for(
                lambda: self._place.state.version != before, timeout_s=min(NEWS_S, max(0.0, self._left_s))
            )
        return False

    def _too_late(self, error: OvenbirdError | None = None) -> OvenbirdError:
        evidence = "; ".join(text for text in (self._last_error, error.evidence if error else "") if text)
        if self._unknown is not None:
            return Timeout(
                f"no confirmation within {self._timeout_s:.0f} s: the change may or may not have been made",
                code="outcome_unknown",
                evidence=evidence,
                hint="apply again: what was made already is left unchanged",
            )
        return Timeout(
            f"not written within {self._timeout_s:.0f} s, after {self._conflicts} conflicts with other changes",
            code="conflict",
            evidence=evidence,
            hint="nothing was changed; try again",
        )
