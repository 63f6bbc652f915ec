"""Which MAC addresses this host answers for just now: read from the flows by which ovs-vswitchd forwards.

ovn-controller gives the flow that lets packets to a router's outer MAC address in only to the gateway that carries the
router, and takes it away when it does not. These flows change with BFD at once; SB's Port_Binding says the same later,
and not at all while SB is away. It must never take what was true before a lost connection for true.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from ovenbird.host.openflow import Change, Connection, FlowChange
from ovenbird.model.errors import Unavailable

FOLLOWED = "announce.flows_followed"
UNFOLLOWED = "announce.flows_not_followed"
ADMISSION_TABLE = 8
"""First table of OVN's ingress pipeline: admission of packets by their destination MAC address in a router's."""
RETRY_S = 0.1
FRESH_S = 1.0

_log = logging.getLogger(__name__)


class Carried:
    """Follows the flows of one bridge. `macs` is empty while they cannot be followed."""

    def __init__(self, bridge: Path, on_change: Callable[[], None]) -> None:
        self._path = bridge
        self._on_change = on_change
        self._flows: dict[bytes, bytes] = {}
        self._count: Counter[bytes] = Counter()
        self._connection: Connection | None = None
        self._barriers: dict[int, asyncio.Future[None]] = {}
        self.is_followed = False
        """Whether the flows have been followed once; when they cannot be any more, nothing is carried."""

    def holds(self, mac: bytes) -> bool:
        """Whether this host answers for a MAC address."""
        return self._count[mac] > 0

    async def refresh(self) -> bool:
        """Return once all that has changed up to this moment is known; False if that cannot be found out."""
        connection = self._connection
        if connection is None:
            return False
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        number = connection.ask_barrier()
        self._barriers[number] = answered
        await asyncio.wait({answered}, timeout=FRESH_S)
        self._barriers.pop(number, None)
        return answered.done() and not answered.cancelled()

    async def run(self) -> None:
        """Follow until cancelled."""
        told = ""
        while True:
            try:
                async with Connection(self._path) as connection:
                    connection.follow(ADMISSION_TABLE)
                    all_told = connection.ask_barrier()
                    self._connection = connection
                    _log.info(FOLLOWED, extra={"bridge": self._path.name})
                    told = ""
                    while True:
                        changes, barrier = await connection.next_changes()
                        self._take(changes)
                        if barrier == all_told:
                            self.is_followed = True
                            self._on_change()
                        if barrier is not None and (answered := self._barriers.pop(barrier, None)) is not None:
                            answered.set_result(None)
            except (OSError, EOFError, TimeoutError, Unavailable) as error:
                # Nobody listens while ovs-vswitchd starts again: then it forwards nothing either.
                if str(error) != told:
                    told = str(error)
                    _log.info(UNFOLLOWED, extra={"bridge": self._path.name, "error": told})
            finally:
                self._forget()
            await asyncio.sleep(RETRY_S)

    def _take(self, changes: list[FlowChange]) -> None:
        changed = False
        for flow in changes:
            if flow.destination is None:
                continue
            changed = True
            if flow.change is Change.PRESENT and flow.identity not in self._flows:
                self._flows[flow.identity] = flow.destination
                self._count[flow.destination] += 1
            elif flow.change is Change.GONE and self._flows.pop(flow.identity, None) is not None:
                self._count[flow.destination] -= 1
                if not self._count[flow.destination]:
                    del self._count[flow.destination]
        if changed:
            self._on_change()

    def _forget(self) -> None:
        self._connection = None
        for answered in self._barriers.values():
            answered.cancel()
        self._barriers.clear()
        self._flows.clear()
        self._count.clear()
        self._on_change()
