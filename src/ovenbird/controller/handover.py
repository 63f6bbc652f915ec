"""Has gateways go on forwarding the routers that they lose by a planned move, until others have taken them over.

OVN changes who carries a router on all chassis at once, each in its own time: a gateway that is done first drops what
still comes to it. So a gateway's agent is asked to have its ovn-controller wait (`ovenbird.host.handover`), then NB is
changed, and the gateway is let go when SB says that all is where it should be. It must never hold up a move because a
gateway cannot wait, nor count on anybody's letting go: the agent does it by itself after a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Collection

from ovenbird.controller.events import GATEWAY_NOT_HELD, Events
from ovenbird.controller.fence import begin_in_store
from ovenbird.controller.gateway_sight import GatewaySight
from ovenbird.controller.leadership import Leadership
from ovenbird.controller.records import handover_uuid
from ovenbird.controller.store import Store
from ovenbird.ovsdb import OvsdbError
from ovenbird.plan.rebalance import Move

HELD_S = 0.4
"""How long a gateway may take to say that it waits; then the move goes on without."""
MOVED_S = 1.0
"""How long the others may take to claim what is theirs: less than agents wait."""
SETTLE_S, MOST_SETTLE_S = 0.15, 0.5
"""Hosts of workloads hear of it when the new gateway does. They get as long after its claim as that took, in these
bounds."""
WRITE_S = 1.0


class Handover:
    """The holds that are in force. One for each acting controller."""

    def __init__(self, store: Store, leadership: Leadership, sight: GatewaySight, events: Events) -> None:
        self._store = store
        self._leadership = leadership
        self._sight = sight
        self._events = events
        self._held: dict[str, int] = {}
        """Gateway -> request."""
        self._expected: dict[str, str] = {}
        """Leg -> gateway that is to carry it."""
        self._letting_go: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def during(self, moves: Collection[Move]) -> AsyncIterator[None]:
        """Change NB inside. Gateways that lose legs wait before it, and are let go some time after it."""
        if not moves:
            yield
            return
        await self._hold(moves)
        self._expected |= {move.router: move.after for move in moves}
        began_s = time.monotonic()
        try:
            yield
        finally:
            if self._letting_go is not None:
                self._letting_go.cancel()
            self._letting_go = asyncio.create_task(self._let_go(began_s), name="handover")

    async def over(self) -> None:
        """Return when no gateway is to be let go any more."""
        if self._letting_go is not None:
            await asyncio.wait((self._letting_go,))

    async def _hold(self, moves: Collection[Move]) -> None:
        """Return when all that lose a leg wait, or have been given the time to."""
        request = time.time_ns() // 1_000_000
        # Whoever is to take a leg must not wait himself.
        back = {gateway: self._held.pop(gateway) for gateway in {move.after for move in moves} & self._held.keys()}
        losing = {move.before for move in moves} - {move.after for move in moves}
        new = {name: request for name in losing - self._held.keys() if self._sight.readiness(name).good}
        if not await self._write(new, back):
            return
        self._held |= new
        known = self._store.state.handovers
        try:
            await self._store.wait_for(lambda: all(known.get(each) for each in new.items()), timeout_s=HELD_S)
        except TimeoutError:
            silent = sorted(name for name, number in new.items() if not known.get((name, number)))
            self._events.emit(GATEWAY_NOT_HELD, gateways=silent)

    async def _let_go(self, began_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            await self._sight.carried(dict(self._expected), timeout_s=MOVED_S)
            await asyncio.sleep(max(SETTLE_S, min(time.monotonic() - began_s, MOST_SETTLE_S)))
        held, self._held = self._held, {}
        self._expected.clear()
        await self._write({}, held)

    async def _write(self, new: dict[str, int], gone: dict[str, int]) -> bool:
        """Ask, and take back what was asked; what an earlier controller left goes, too."""
        ours = self._held.items()
        stale = {each for each in self._store.state.handovers if each not in ours} | set(gone.items())
        if not new and not stale:
            return False
        txn = begin_in_store(self._leadership.epoch, "gateways that go on forwarding")
        for each in stale:
            txn.delete("Handover", uuid=handover_uuid(*each))
        for name, number in new.items():
            row = {"gateway": name, "request": number, "held": False}
            txn.insert("Handover", row, uuid=handover_uuid(name, number))
        try:
            await self._store.client.transact(txn, timeout_s=WRITE_S)
        except OvsdbError as error:
            self._events.emit(GATEWAY_NOT_HELD, gateways=sorted(new), error=str(error))
            return False
        return bool(new)
