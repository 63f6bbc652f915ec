"""Writes this host's row of the table Node, and no other: who it is, what it sees, and a heartbeat.

Each write is an entry in a replicated, synced log, so the row is written when the facts changed and otherwise at the
heartbeat's pace.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ovenbird.model.cluster import Host
from ovenbird.ovsdb import Client, OvsdbError, Transaction
from ovenbird.plan.rows import row_uuid

HEARTBEAT_S = 5.0
LOOK_S = 1.0
FIRST_LOOK_S = 0.25
"""While the host comes up much changes, and others wait for it."""
EARLY_S = 30.0
PAUSE_S = 0.1
"""At least this from one look to the next: several things change at once, but what comes alone is told at once."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_log = logging.getLogger(__name__)


class Reporter:
    """Reports one host."""

    def __init__(
        self,
        host: Host,
        client: Client,
        look: Callable[[], Awaitable[dict[str, Any]]],
        *,
        news: asyncio.Event | None = None,
    ) -> None:
        """`look` gathers the facts; `news` is set by whoever knows that they changed."""
        self._host = host
        self._client = client
        self._look = look
        self._news = news or asyncio.Event()
        self._boot_id = BOOT_ID.read_text(encoding="ascii").strip()

    async def run(self) -> None:
        """Look and report until cancelled."""
        began = time.monotonic()
        written, written_at = "", 0.0
        while True:
            looked = time.monotonic()
            facts = json.dumps(await self._look(), sort_keys=True)
            now = time.monotonic()
            if self._client.connected and (facts != written or now - written_at >= HEARTBEAT_S):
                try:
                    await self._write(facts)
                    written, written_at = facts, now
                except OvsdbError as error:
                    _log.debug("report.failed", extra={"error": str(error)})
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S if now - began > EARLY_S else FIRST_LOOK_S):
                    await self._news.wait()
                await asyncio.sleep(max(0.0, looked + PAUSE_S - time.monotonic()))
            self._news.clear()

    async def _write(self, facts: str) -> None:
        """Update the row, or insert it the first time. Its UUID follows from the name: a repeat is harmless."""
        uuid = row_uuid("Node", self._host.name)
        columns = {
            "name": self._host.name,
            "address": self._host.address,
            "roles": frozenset(role.value for role in self._host.roles),
            "physnets": self._host.physnets,
            "boot_id": self._boot_id,
            "heartbeat_s": int(time.time()),
            "facts": facts,
        }
        txn = Transaction("ovenbird agent: heartbeat")
        txn.update("Node", columns, uuid=uuid)
        result = await self._client.transact(txn, timeout_s=HEARTBEAT_S)
        if result.count(0) == 0:
            txn = Transaction("ovenbird agent: first report")
            txn.insert("Node", columns, uuid=uuid)
            await self._client.transact(txn, timeout_s=HEARTBEAT_S)
