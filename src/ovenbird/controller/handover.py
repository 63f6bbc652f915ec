"""Has routers move from gateway to gateway in an order in which no packet meets one that cannot forward it.

OVN changes who carries a router on all chassis at once, each in its own time: a gateway that is done first drops what
still comes to it, and a workload's host that is done first sends to a gateway that is not. So the ovn-controllers of
the gateways that lose a router, and of the hosts that send to them, wait (`ovenbird.host.handover`) while NB is
changed. When the new gateways say that they forward, the hosts are let go; when these say that they send there, the
old gateways are. It must never hold up a move because somebody cannot wait, nor count on anybody's letting go: agents
do it by themselves after a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable

from ovenbird.controller.events import GATEWAY_NOT_HELD, Events
from ovenbird.controller.fence import begin_in_store
from ovenbird.controller.gateway_sight import GatewaySight
from ovenbird.controller.leadership import Leadership
from ovenbird.controller.records import handover_uuid
from ovenbird.controller.store import Store
from ovenbird.ovsdb import OvsdbError
from ovenbird.plan.rebalance import Move

HELD_S = 0.4
"""How long a host may take to say that it waits; then the move goes on without."""
MOVED_S = 1.0
"""How long the new gateways may take to claim what is theirs, and to say that they forward: less than agents wait."""
TURNED_S = 0.5
"""How long the hosts that send may take to say that they send to the new gateways."""
SETTLE_S, MOST_SETTLE_S = 0.15, 0.5
"""Where hosts that send do not wait, they hear of it when the new gateway does. They get as long after its claim as
that took, in these bounds."""
WRITE_S = 1.0


class Handover:
    """The holds that are in force. One for each acting controller."""

    def __init__(
        self,
        store: Store,
        leadership: Leadership,
        sight: GatewaySight,
        events: Events,
        raised: Callable[[float], Awaitable[int]],
    ) -> None:
        """Take in whom to ask; `raised` has all chassis confirm within so many seconds, and returns the number."""
        self._store = store
        self._leadership = leadership
        self._sight = sight
        self._events = events
        self._raised = raised
        self._held: dict[str, int] = {}
        """Host -> request."""
        self._letting_go: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def during(self, moves: Collection[Move]) -> AsyncIterator[None]:
        """Change NB inside. Who loses legs, or sends to them, waits before it, and is let go some time after it."""
        if not moves:
            yield
            return
        await self.over()
        senders = await self._hold(moves)
        began_s = time.monotonic()
        try:
            yield
        finally:
            self._letting_go = asyncio.create_task(self._let_go(moves, senders, began_s), name="handover")

    async def over(self) -> None:
        """Return when nobody is to be let go any more."""
        if self._letting_go is not None:
            await asyncio.wait((self._letting_go,))

    async def _hold(self, moves: Collection[Move]) -> frozenset[str]:
        """Return when all who should wait do, or have been given the time to; and who of them only sends."""
        request = time.time_ns() // 1_000_000
        # Whoever is to take a leg must not wait himself.
        taking = {move.after for move in moves}
        losing = {name for name in {move.before for move in moves} - taking if self._sight.readiness(name).good}
        senders = self._sight.senders({move.router for move in moves}) - taking - losing
        new = dict.fromkeys((*losing, *senders), request)
        if not await self._write(new, ()):
            return frozenset()
        self._held = new
        known = self._store.state.handovers
        try:
            await self._store.wait_for(lambda: all(known.get(each) for each in new.items()), timeout_s=HELD_S)
        except TimeoutError:
            silent = sorted(name for name, number in new.items() if not known.get((name, number)))
            self._events.emit(GATEWAY_NOT_HELD, gateways=silent)
        return frozenset(senders)

    async def _let_go(self, moves: Collection[Move], senders: frozenset[str], began_s: float) -> None:
        number = await self._until_they_forward(moves)
        if not senders or number is None:
            await asyncio.sleep(max(SETTLE_S, min(time.monotonic() - began_s, MOST_SETTLE_S)))
        if senders:
            await self._release(senders)
            with contextlib.suppress(TimeoutError):
                if number is not None:
                    await self._sight.confirmed(senders, number, timeout_s=TURNED_S)
        await self._release(self._held.keys())

    async def _until_they_forward(self, moves: Collection[Move]) -> int | None:
        """Return the number that all new gateways have confirmed since they claimed what is theirs; None: too late.

        A claim alone says little: the flows of a router come after it.
        """
        try:
            async with asyncio.timeout(MOVED_S):
                await self._sight.carried({move.router: move.after for move in moves}, timeout_s=MOVED_S)
                number = await self._raised(MOVED_S)
                await self._sight.confirmed({move.after for move in moves}, number, timeout_s=MOVED_S)
        except TimeoutError:
            return None
        return number

    async def _release(self, names: Collection[str]) -> None:
        gone = {name: self._held.pop(name) for name in tuple(names) if name in self._held}
        await self._write({}, gone.items())

    async def _write(self, new: dict[str, int], gone: Iterable[tuple[str, int]]) -> bool:
        """Ask, and take back what was asked; what an earlier controller left goes, too."""
        ours = self._held.items()
        stale = {each for each in self._store.state.handovers if each not in ours} | set(gone)
        if not new and not stale:
            return False
        txn = begin_in_store(self._leadership.epoch, "hosts that go on forwarding")
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
