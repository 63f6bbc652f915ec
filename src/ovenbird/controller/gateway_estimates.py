"""Completes the history of gateways with what agents tell of a change after it: detection, outage, outside's answer.

Those facts come later than the change itself, and each in its own time. Only the acting controller writes; a change
that is older than what agents still tell of stays as it is. It must never hold up anything.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from ovenbird.controller.events import GATEWAY_CHANGE_UNTOLD, GATEWAY_OUTAGE, Events
from ovenbird.controller.fence import begin_in_store
from ovenbird.controller.fitness import GatewayFitness
from ovenbird.controller.gateway_sight import GatewaySight
from ovenbird.controller.leadership import Leadership
from ovenbird.controller.node_facts import claims, released
from ovenbird.controller.records import GatewayChangeRecord, gateway_change_uuid
from ovenbird.controller.store import Store
from ovenbird.ovsdb import OvsdbError, WaitFailed
from ovenbird.plan.outage_estimate import Seen, estimate

LOOK_S = 1.0
OPEN_S = 90.0
"""So long after a change something new may be told of it. Agents tell of a claim for two minutes."""
WRITE_TIMEOUT_S = 5.0
Change = tuple[int, str]
"""When, and which router: as the state has it."""


class GatewayEstimates:
    """Keeps the estimates of the latest changes while this process leads; `run` until cancelled."""

    def __init__(
        self,
        store: Store,
        leadership: Leadership,
        sight: GatewaySight,
        fitness: GatewayFitness,
        events: Events,
        *,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._leadership = leadership
        self._sight = sight
        self._fitness = fitness
        self._events = events
        self._wall_clock = wall_clock
        self._bad: dict[Change, tuple[str, int]] = {}

    def note(self, change: GatewayChangeRecord) -> None:
        """Keep what is known of a change only in the moment in which it is seen."""
        if (bad := self._fitness.bad_for(change.before)) is not None:
            self._bad[change.at_ms, change.router] = bad

    async def run(self) -> None:
        """Complete for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            if self._leadership.is_leader and self._store.synced and self._store.keeps_estimates:
                found = list(self._completed())
                if found:
                    await self._write(found)

    def _completed(self) -> Iterator[GatewayChangeRecord]:
        since_ms = int(1000 * (self._wall_clock() - OPEN_S))
        macs: dict[str, str] | None = None
        for key in [key for key in self._bad if key[0] < since_ms]:
            del self._bad[key]
        for key, change in self._store.state.gateway_changes.items():
            if change.at_ms < since_ms:
                continue
            macs = self._sight.macs() if macs is None else macs
            known = estimate(self._seen(key, change, macs.get(change.router, "")))
            # What was known stays known: an agent that is started again has forgotten it.
            if known != change.estimate and (known.outage_ms is not None or change.estimate.outage_ms is None):
                yield replace(change, estimate=known)

    def _seen(self, key: Change, change: GatewayChangeRecord, mac: str) -> Seen:
        nodes = self._store.state.nodes
        new, old = nodes.get(change.after), nodes.get(change.before)
        return Seen(
            at_ms=change.at_ms,
            before=change.before,
            cause=change.cause,
            claim=claims(new.facts).get(mac) if new is not None else None,
            released_ms=released(old.facts).get(mac) if old is not None else None,
            detect_ms=self._sight.detect_ms,
            bad=self._bad.get(key),
        )

    async def _write(self, changes: list[GatewayChangeRecord]) -> None:
        txn = begin_in_store(self._leadership.epoch, "estimates of outages")
        for change in changes:
            row = {"estimate": json.dumps(change.estimate.to_json(), sort_keys=True)}
            txn.update("GatewayChange", row, uuid=gateway_change_uuid(change))
        try:
            await self._store.client.transact(txn, timeout_s=WRITE_TIMEOUT_S)
        except WaitFailed:
            return  # another leads
        except OvsdbError as error:
            self._events.emit(GATEWAY_CHANGE_UNTOLD, error=str(error))
        else:
            pinned = self._sight.pinned
            for change in changes:
                self._events.emit(GATEWAY_OUTAGE, **change.to_json(pinned=change.router in pinned))
