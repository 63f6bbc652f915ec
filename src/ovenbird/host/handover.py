"""Has this gateway go on forwarding what a planned move takes from it, and this host sending there, until all may turn.

ovn-controller is paused meanwhile (`ovenbird.host.pausing`): for seconds at most, whatever becomes of whoever asked.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass

from ovenbird.host.chassis import Chassis
from ovenbird.host.pausing import paused, resume_old
from ovenbird.model.cluster import Host
from ovenbird.ovsdb import Client, OvsdbError, Replica, Transaction

HELD = "handover.held"
LET_GO = "handover.let_go"
NOT_HELD = "handover.not_held"
LONGEST_S = 3.5
EARLY_S = 1.8
"""Hosts that send are let go within that time, or nobody waits for it."""
WRITE_S = 1.0
TABLES = {"Handover": ("gateway", "request", "held", "silence", "silent")}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a row asks of this host."""

    uuid: str
    silence: frozenset[str]
    """MAC addresses of routers that it should tell nobody outside of any more."""


class Handover:
    """Watches what is asked of one gateway, and does it."""

    def __init__(
        self,
        host: Host,
        chassis: Chassis,
        client: Client,
        *,
        gateways: Collection[str] = (),
        on_hold: Callable[[], Awaitable[None]] | None = None,
        on_silence: Callable[[Collection[str]], Awaitable[None]] | None = None,
        on_release: Callable[[], None] = lambda: None,
    ) -> None:
        """Take in whom to tell.

        `on_hold` is called as soon as this host goes on forwarding, `on_silence` with the MAC addresses that it should
        not tell of any more. `on_release` is called when another host is let go, or has become silent: what this one
        took is then its alone. `gateways`: the hosts that do not only send.
        """
        self._name = host.name
        self._gateways = frozenset(gateways)
        self._on_hold = on_hold
        self._on_silence = on_silence
        self._chassis = chassis
        self._client = client
        self._on_release = on_release
        self._wanted: dict[int, _Asked] = {}
        """By request."""
        self._changed = asyncio.Event()
        self.holding = False
        """Whether others may answer already for what this gateway still forwards."""
        self._early_until_s = -math.inf

    @property
    def senders_wait(self) -> bool:
        """Whether hosts that send to gateways still send to those that are to lose routers. Soon they do not."""
        return time.monotonic() < self._early_until_s

    async def run(self) -> None:
        """Watch until cancelled."""
        await self._chassis.settled.wait()
        await resume_old(self._chassis.controller_spec)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            group.create_task(self._act())

    async def _watch(self) -> None:
        others: set[str] = set()
        silent: set[str] = set()
        async with Replica(self._client, TABLES) as replica:
            async for _ in replica.changes():
                rows = replica.table("Handover")
                # Columns that a database of an older version does not have.
                knows = replica.has("Handover", "silent")
                self._wanted = {
                    int(row["request"]): _Asked(uuid, frozenset(row["silence"] if knows else ()))
                    for uuid, row in rows.items()
                    if row["gateway"] == self._name
                }
                self._changed.set()
                before, others = others, {uuid for uuid, row in rows.items() if row["gateway"] != self._name}
                spoke, silent = others - silent, {uuid for uuid in others if knows and rows[uuid]["silent"]}
                if before - others or spoke & silent:
                    self._early_until_s = -math.inf
                    self._on_release()
                if any(rows[uuid]["gateway"] not in self._gateways for uuid in others - before):
                    self._early_until_s = time.monotonic() + EARLY_S

    async def _act(self) -> None:
        """Hold once for each request; what was asked before this agent started is over."""
        await self._changed.wait()
        done = self._wanted.keys()
        while True:
            self._changed.clear()
            new = self._wanted.keys() - done
            done = self._wanted.keys()
            if new:
                await self._hold(max(new))
            else:
                await self._changed.wait()

    async def _hold(self, request: int) -> None:
        began_s = time.monotonic()
        try:
            async with paused(self._chassis.controller_spec) as is_paused:
                if is_paused:
                    self.holding = True
                    _log.info(HELD, extra={"request": request})
                    await self._wait(request)
        finally:
            self.holding = False
        _log.info(LET_GO, extra={"request": request, "took_ms": round(1000 * (time.monotonic() - began_s))})

    async def _wait(self, request: int) -> None:
        """Tell that this gateway goes on forwarding, and wait until that is wanted no more, but not too long."""
        try:
            if self._on_hold is not None:
                await self._on_hold()
            if request in self._wanted:
                await self._tell(request, "held")
            with suppress(TimeoutError):
                async with asyncio.timeout_at(asyncio.get_running_loop().time() + LONGEST_S):
                    await self._until_released(request)
        except (OvsdbError, OSError) as error:
            _log.warning(NOT_HELD, extra={"request": request, "error": str(error)})

    async def _until_released(self, request: int) -> None:
        is_silent = False
        while (asked := self._wanted.get(request)) is not None:
            self._changed.clear()
            if asked.silence and not is_silent:
                is_silent = True
                if self._on_silence is not None:
                    await self._on_silence(asked.silence)
                if request in self._wanted:
                    await self._tell(request, "silent")
            await self._changed.wait()

    async def _tell(self, request: int, what: str) -> None:
        txn = Transaction(f"ovenbird agent: {what}")
        txn.update("Handover", {what: True}, uuid=self._wanted[request].uuid)
        await self._client.transact(txn, timeout_s=WRITE_S)
