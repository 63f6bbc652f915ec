"""Which gateway carried which router when, and why it changed: written down by the acting controller as SB tells it.

A bounded log in the Ovenbird database. A change is noticed in the moment in which SB's copy here changes, before
anything is decided upon it. A change that nobody saw, because no controller acted then, is told by the next one when it
first looks. It must never hold up anything: what cannot be written is tried again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from ovenbird.controller.events import GATEWAY_CHANGE_UNTOLD, GATEWAY_CHANGED, Events
from ovenbird.controller.fence import begin_in_store
from ovenbird.controller.gateway_estimates import GatewayEstimates
from ovenbird.controller.gateway_sight import GatewaySight
from ovenbird.controller.leadership import Leadership
from ovenbird.controller.records import GatewayChangeRecord, gateway_change_uuid
from ovenbird.controller.store import Store
from ovenbird.ovsdb import OvsdbError, WaitFailed
from ovenbird.plan.failback import Cause
from ovenbird.plan.separation import Why

KEPT = 1000
"""Changes that are kept; the oldest go."""
AT_ONCE = 200
"""Changes written in one transaction."""
WRITE_TIMEOUT_S = 5.0
RETRY_S = 1.0
READY_POLL_S = 0.1
LOOK_BACK_S = 1.5
"""A change that nobody meant is written down so much later: why it happened may be known only by then, and that it did
not last."""
FIRST = "placed"
"""Cause of a router's first gateway."""
PREEMPTED = "preempted"
"""Cause of a change that nobody planned: OVN gave the router to the gateway that comes first, which was back."""


class Planner(Protocol):
    """Who knows what was meant."""

    @property
    def knows(self) -> bool:
        """Whether it has taken over what was meant before; until then it says nothing of any router."""

    def moved_to(self, router: str, gateway: str) -> Cause | None:
        """Return why a router was moved to a gateway, once; None when it was not."""

    def first_gateway(self, router: str) -> str:
        """Return the gateway that should carry a router."""

    def between(self, one: str, other: str) -> Why | None:
        """Return what is wrong between two gateways, or may be."""


class GatewayHistory:
    """Writes the history while this process leads; `look` at every change of SB, `run` until cancelled."""

    def __init__(
        self,
        store: Store,
        leadership: Leadership,
        sight: GatewaySight,
        planner: Planner,
        estimates: GatewayEstimates,
        events: Events,
        *,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._leadership = leadership
        self._sight = sight
        self._planner = planner
        self._estimates = estimates
        self._events = events
        self._wall_clock = wall_clock
        self._last: dict[str, str] = {}
        self._epoch: int | None = None
        self._untold: list[GatewayChangeRecord] = []
        self._woken = asyncio.Event()
        leadership.on_change(self._woken.set)

    def look(self) -> None:
        """Note what has changed."""
        if not self._leadership.is_leader:
            self._epoch = None
            return
        if not self._is_ready:
            self._woken.set()
            return
        if self._epoch != self._leadership.epoch:
            self._epoch = self._leadership.epoch
            self._untold.clear()
            known = sorted(self._store.state.gateway_changes.values(), key=lambda change: change.at_ms)
            self._last = {change.router: change.after for change in known}
        at_ms = int(1000 * self._wall_clock())
        carriers = self._sight.carriers()
        for router, carrier in carriers.items():
            before = self._last.get(router, "")
            if carrier is not None and carrier != before:
                self._last[router] = carrier
                change = GatewayChangeRecord(
                    at_ms=at_ms,
                    router=router,
                    before=before,
                    after=carrier,
                    cause=self._cause(router, before, carrier),
                )
                self._untold.append(change)
                self._estimates.note(change)
        for gone in self._last.keys() - carriers.keys():
            del self._last[gone]
        if self._untold:
            self._woken.set()

    @property
    def _is_ready(self) -> bool:
        """Whether it is known what has been told, and what was meant.

        While the connection is lost nothing is forgotten: seen anew, a planned change would look like nobody's.
        """
        return self._store.synced and self._planner.knows

    def _cause(self, router: str, before: str, carrier: str) -> str:
        planned = self._planner.moved_to(router, carrier)
        if planned is not None:
            return str(planned.value)
        if not before:
            return FIRST
        # Nobody but the first gateway takes a router from one that lives.
        took_it_back = self._planner.first_gateway(router) == carrier
        return PREEMPTED if took_it_back else Cause.FAILOVER.value

    async def run(self) -> None:
        """Write for ever."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._leadership.is_leader and not self._is_ready:
                await asyncio.sleep(READY_POLL_S)
            self.look()
            while self._untold and self._leadership.is_leader:
                changes = await self._explained(self._untold[:AT_ONCE])
                if changes:
                    await self._write(changes)

    async def _explained(self, changes: list[GatewayChangeRecord]) -> list[GatewayChangeRecord]:
        """Wait until causes are known, and put them in."""
        unmeant = [change for change in changes if change.cause in (Cause.FAILOVER.value, Cause.FAILBACK.value)]
        if unmeant:
            youngest_s = self._wall_clock() - max(change.at_ms for change in unmeant) / 1000
            await asyncio.sleep(min(LOOK_BACK_S, max(0.0, LOOK_BACK_S - youngest_s)))
        if self._untold[: len(changes)] != changes:
            return []  # another leads, or led meanwhile
        brief = self._brief()
        found = []
        for change in (change for change in changes if change not in brief):
            wrong = self._planner.between(change.before, change.after) if change in unmeant else None
            found.append(replace(change, cause=wrong.value) if wrong is not None else change)
        self._untold = [*found, *(change for change in self._untold[len(changes) :] if change not in brief)]
        return found

    def _brief(self) -> list[GatewayChangeRecord]:
        """Return claims that did not last, with the return to who carries the router all the time.

        A gateway that is lost to all others, or comes back, sees them one by one, and claims what those carry that it
        does not see. One that was found wanting meanwhile has not carried it all the time, and two that do not see each
        other are another matter: these are told.
        """
        last: dict[str, GatewayChangeRecord] = {}
        found = []
        for change in self._untold:
            before = last.get(change.router)
            if (
                before is not None
                and before.cause == Cause.FAILOVER.value
                and change.cause in (Cause.FAILOVER.value, PREEMPTED)
                and (before.before, before.after) == (change.after, change.before)
                and change.at_ms - before.at_ms <= 1000 * LOOK_BACK_S
                and self._planner.between(before.before, before.after) is None
                and self._was_good(before.before, before.at_ms)
            ):
                found += [before, change]
            last[change.router] = change
        return found

    def _was_good(self, gateway: str, since_ms: int) -> bool:
        """Whether a gateway has been known to be good since before then."""
        gateways, now_s = self._sight.look()
        good_since_s = gateways.good_since_s.get(gateway)
        return good_since_s is not None and now_s - good_since_s > self._wall_clock() - since_ms / 1000

    async def _write(self, changes: list[GatewayChangeRecord]) -> None:
        txn = begin_in_store(self._leadership.epoch, "changes of active gateways")
        known = self._store.state.gateway_changes
        new = [change for change in changes if (change.at_ms, change.router) not in known]
        for change in new:
            row = {
                "at_ms": change.at_ms,
                "router": change.router,
                "before": change.before,
                "after": change.after,
                "cause": change.cause,
            }
            txn.insert("GatewayChange", row, uuid=gateway_change_uuid(change))
        for _, oldest in sorted(known.items())[: max(0, len(known) + len(new) - KEPT)]:
            txn.delete("GatewayChange", uuid=gateway_change_uuid(oldest))
        try:
            await self._store.client.transact(txn, timeout_s=WRITE_TIMEOUT_S)
        except WaitFailed:
            self._untold.clear()  # another leads; it sees the same
        except OvsdbError as error:
            self._events.emit(GATEWAY_CHANGE_UNTOLD, error=str(error))
            await asyncio.sleep(RETRY_S)
        else:
            self._untold = [change for change in self._untold if change not in changes]
            pinned = self._sight.pinned
            for change in new:
                self._events.emit(GATEWAY_CHANGED, **change.to_json(pinned=change.router in pinned))
