"""Has routers move from gateway to gateway in an order in which no packet meets one that cannot forward it.

OVN changes who carries a router on all chassis at once, each in its own time: a gateway that is done first drops what
still comes to it, and a workload's host that is done first sends to a gateway that is not. So the ovn-controllers of
the gateways that lose a router, and of the hosts that send to them, wait (`ovenbird.host.handover`) while NB is
changed. When the new gateways say that they forward, the hosts are let go; when these say that they send there, the
old gateways tell the outside no more of what they lose, and are let go when nothing comes to them. It must never hold
up a move because somebody cannot wait, nor count on anybody's letting go: agents do it by themselves after a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable

from ovenbird.controller.events import GATEWAY_HANDED_OVER, GATEWAY_NOT_HELD, Events
from ovenbird.controller.fence import begin_in_store
from ovenbird.controller.gateway_sight import GatewaySight
from ovenbird.controller.leadership import Leadership
from ovenbird.controller.records import handover_uuid
from ovenbird.controller.store import Store
from ovenbird.ovsdb import OvsdbError
from ovenbird.plan.rebalance import Move

HELD_S = 0.4
"""How long a host may take to say that it waits; then the move goes on without."""
MOVED_S = 1.2
"""How long the new gateways may take to claim what is theirs, and to say that they forward: less than agents wait."""
TURNED_S = 0.8
"""How long the hosts that send may take to say that they send to the new gateways."""
SILENT_S = 0.8
"""How long old gateways may take to say that they tell the outside no more of what they lose."""
ON_ITS_WAY_S = 0.2
"""What came to an old gateway before it was silent has left it after that time."""
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

        def is_held(request: tuple[str, int]) -> bool:
            return request in known and known[request].held

        try:
            await self._store.wait_for(lambda: all(map(is_held, new.items())), timeout_s=HELD_S)
        except TimeoutError:
            self._events.emit(
                GATEWAY_NOT_HELD, gateways=sorted(name for name, number in new.items() if not is_held((name, number)))
            )
        return frozenset(senders)

    async def _let_go(self, moves: Collection[Move], senders: frozenset[str], began_s: float) -> None:
        number = await self._until_they_forward(moves)
        late = [] if number is not None else ["new gateways"]
        if not senders or number is None:
            await asyncio.sleep(max(SETTLE_S, min(time.monotonic() - began_s, MOST_SETTLE_S)))
        if senders:
            await self._release(senders)
            if number is not None and not await self._have_turned(senders, number):
                late.append("hosts that send")
        if number is not None and not await self._silence(moves):
            late.append("old gateways")
        await self._release(self._held.keys())
        took_ms = round(1000 * (time.monotonic() - began_s))
        self._events.emit(GATEWAY_HANDED_OVER, legs=len(moves), took_ms=took_ms, not_waited_for=late)

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

    async def _have_turned(self, senders: Collection[str], number: int) -> bool:
        """Return whether the hosts that send do so to the new gateways, as soon as they do."""
        try:
            await self._sight.confirmed(senders, number, timeout_s=TURNED_S)
        except TimeoutError:
            return False
        return True

    async def _silence(self, moves: Collection[Move]) -> bool:
        """Have old gateways tell the outside no more of what they lose, and wait until nothing comes to them.

        Returns whether they said so; True if they cannot be asked.
        """
        macs = self._sight.macs()
        lost = {
            name: {macs[move.router] for move in moves if move.before == name and macs.get(move.router)}
            for name in self._held
        }
        asked = {(name, self._held[name]): lost[name] for name in lost if lost[name]}
        if not asked or not self._store.asks_for_silence:
            return True
        txn = begin_in_store(self._leadership.epoch, "gateways that are silent outside")
        for each, names in asked.items():
            txn.update("Handover", {"silence": names}, uuid=handover_uuid(*each))
        known = self._store.state.handovers
        try:
            await self._store.client.transact(txn, timeout_s=WRITE_S)
            await self._store.wait_for(
                lambda: all(each not in known or known[each].silent for each in asked), timeout_s=SILENT_S
            )
        except (OvsdbError, TimeoutError):
            return False
        finally:
            await asyncio.sleep(ON_ITS_WAY_S)
        return True

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
