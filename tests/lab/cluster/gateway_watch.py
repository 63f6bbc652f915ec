"""Watches which chassis carries a router's gateway port, with the time of every change.

It reads the southbound database of any member that answers, so that it goes on while others are broken. It is an
observer: this module must never write.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType

from ovenbird.model.errors import Timeout
from ovenbird.ovsdb import Client, Replica

TABLES = {"Port_Binding": ("logical_port", "type", "chassis"), "Chassis": ("name",)}


@dataclass(frozen=True, slots=True)
class Claim:
    """A gateway port was seen on a chassis; "" means on none."""

    at_ns: int
    chassis: str


class GatewayWatch:
    """The history of one gateway port since the watch began."""

    def __init__(self, remotes: Sequence[str], gateway_port: str) -> None:
        self.gateway_port = gateway_port
        self.history: list[Claim] = []
        self._client = Client("OVN_Southbound", remotes, leader_only=False)
        self._replica = Replica(self._client, TABLES)
        self._stack = AsyncExitStack()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> GatewayWatch:
        """Connect and begin to record."""
        await self._stack.enter_async_context(self._client)
        await self._stack.enter_async_context(self._replica)
        await self._replica.ready(timeout_s=15)
        self._task = asyncio.create_task(self._record())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop recording."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._stack.aclose()

    @property
    def chassis(self) -> str:
        """Chassis that has the port now, as far as is known."""
        return self.history[-1].chassis if self.history else ""

    async def wait_for(self, wanted: set[str] | None, *, unwanted: str = "", timeout_s: float) -> Claim:
        """Wait until the port is on one of `wanted` (None: any chassis) and not on `unwanted`; raises `Timeout`."""
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    now = self.history[-1] if self.history else None
                    if now and now.chassis and now.chassis != unwanted and (wanted is None or now.chassis in wanted):
                        return now
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise Timeout(
                f"{self.gateway_port} is not on {'/'.join(wanted) if wanted else 'another chassis'} "
                f"after {timeout_s:g} s",
                subject=self.gateway_port,
                evidence=f"it was on: {', '.join(claim.chassis or 'none' for claim in self.history) or 'none'}",
            ) from None

    async def _record(self) -> None:
        self._note()
        async for _change in self._replica.changes():
            self._note()

    def _note(self) -> None:
        chassis = self._replica.table("Chassis")
        for row in self._replica.table("Port_Binding").values():
            if row["logical_port"] == self.gateway_port:
                at = row["chassis"]
                name = str(chassis[at]["name"]) if at in chassis else ""
                if not self.history or self.history[-1].chassis != name:
                    self.history.append(Claim(time.time_ns(), name))
                    self._changed.set()
                return
