"""Has this gateway go on forwarding what a planned move takes from it, until others have taken it over.

ovn-controller is paused (its control command `debug/pause`): its flows stay as they are, BFD and what ovs-vswitchd does
go on, and so does its thread that answers ARP and DHCP. What it missed meanwhile it does not look at again by itself,
so it is told to compute everything anew afterwards: one that was only resumed would answer for the router for ever.

A paused ovn-controller is as good as a dead one. So it is paused for seconds at most, whatever becomes of whoever asked
for it; a process of its own resumes it even if this agent is killed; and an agent that starts resumes it first.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress

from ovenbird.host.chassis import RECOMPUTE, Chassis
from ovenbird.model.cluster import Host
from ovenbird.ovsdb import Client, OvsdbError, Replica, Transaction
from ovenbird.process import daemon

HELD = "handover.held"
LET_GO = "handover.let_go"
NOT_HELD = "handover.not_held"
NOT_LET_GO = "handover.not_let_go"
LONGEST_S = 2.0
RESCUE_S = 4
"""After so long the process of its own resumes ovn-controller."""
EARLY_S = 1.5
"""Hosts that send are let go within that time, or nobody waits for it."""
ANSWER_S = 0.3
RETRY_S = 0.2
WRITE_S = 1.0
PAUSE, RESUME, STATUS = "debug/pause", "debug/resume", "debug/status"
TABLES = {"Handover": ("gateway", "request", "held")}

_log = logging.getLogger(__name__)


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
        on_release: Callable[[], None] = lambda: None,
    ) -> None:
        """Take in whom to tell.

        `on_hold` is called as soon as this host goes on forwarding. `on_release` is called when another host is let go:
        what this one took is then its alone. `gateways`: the hosts that do not only send.
        """
        self._name = host.name
        self._gateways = frozenset(gateways)
        self._on_hold = on_hold
        self._chassis = chassis
        self._client = client
        self._on_release = on_release
        self._wanted: dict[int, str] = {}
        """Request -> UUID of its row."""
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
        await self._resume_old()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            group.create_task(self._act())

    async def _watch(self) -> None:
        others: set[str] = set()
        async with Replica(self._client, TABLES) as replica:
            async for _ in replica.changes():
                rows = replica.table("Handover")
                self._wanted = {int(row["request"]): uuid for uuid, row in rows.items() if row["gateway"] == self._name}
                self._changed.set()
                before, others = others, {uuid for uuid, row in rows.items() if row["gateway"] != self._name}
                if before - others:
                    self._early_until_s = -math.inf
                    self._on_release()
                elif any(rows[uuid]["gateway"] not in self._gateways for uuid in others - before):
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
        spec, began_s = self._chassis.controller_spec, time.monotonic()
        rescue = await self._rescue()
        try:
            await daemon.ask(spec, PAUSE, timeout_s=ANSWER_S)
            self.holding = True
            if self._on_hold is not None:
                await self._on_hold()
            _log.info(HELD, extra={"request": request})
            if request in self._wanted:
                await self._tell(request)
            with suppress(TimeoutError):
                async with asyncio.timeout_at(asyncio.get_running_loop().time() + LONGEST_S):
                    while request in self._wanted:
                        self._changed.clear()
                        await self._changed.wait()
        except (OvsdbError, OSError) as error:
            _log.warning(NOT_HELD, extra={"request": request, "error": str(error)})
        finally:
            if await self._let_go():
                with suppress(ProcessLookupError):
                    os.killpg(rescue.pid, signal.SIGKILL)
            await rescue.wait()
            self.holding = False
            _log.info(LET_GO, extra={"request": request, "took_ms": round(1000 * (time.monotonic() - began_s))})

    async def _tell(self, request: int) -> None:
        txn = Transaction("ovenbird agent: goes on forwarding")
        txn.update("Handover", {"held": True}, uuid=self._wanted[request])
        await self._client.transact(txn, timeout_s=WRITE_S)

    async def _let_go(self) -> bool:
        """Resume, and have everything computed anew: in this order, a paused one forgets that it was asked to."""
        deadline_s = time.monotonic() + LONGEST_S
        while True:
            try:
                await daemon.ask(self._chassis.controller_spec, RESUME)
                await daemon.ask(self._chassis.controller_spec, RECOMPUTE)
            except (OvsdbError, OSError) as error:
                # One that has ended meanwhile starts anew, and is not paused.
                if time.monotonic() > deadline_s:
                    _log.error(NOT_LET_GO, extra={"error": str(error)})
                    return False
                await asyncio.sleep(RETRY_S)
            else:
                return True

    async def _resume_old(self) -> None:
        """Resume what an earlier agent left paused."""
        with suppress(OvsdbError, OSError):
            if (await daemon.ask(self._chassis.controller_spec, STATUS)).strip() == "paused":
                await self._let_go()

    async def _rescue(self) -> asyncio.subprocess.Process:
        """Start what resumes ovn-controller if this agent does not live to do it."""
        running = daemon.find(self._chassis.controller_spec)
        control = self._chassis.controller_spec.control.replace("{pid}", str(running.pid) if running else "none")
        ask = "ovs-appctl --timeout=5 --target"
        script = f'sleep {RESCUE_S}; {ask} "$0" {RESUME}; {ask} "$0" {RECOMPUTE}'
        quiet = asyncio.subprocess.DEVNULL
        return await asyncio.create_subprocess_exec(
            "sh", "-c", script, control, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
        )
