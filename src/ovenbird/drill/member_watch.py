"""Watches one member of a RAFT database from inside its host: its role and term, and what it shows of the data.

The member is asked through its own unix sockets, so that a partition hides nothing; one that does not answer is
`unknown`, not down. `_Server` tells at once that a role changed, `cluster/status` which term it is. This is an
observer: it must never write, nor wait without a deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ovenbird.model.cluster import Database
from ovenbird.model.errors import OvenbirdError
from ovenbird.model.raft_status import parse_raft_status
from ovenbird.ovsdb import CallError, ConnectionLost, OvsdbError, parse_remote, unixctl
from ovenbird.ovsdb.connection import Connection

ASK_S = 1.0
POLL_S = 1.0
RETRY_S = 0.3
PROBE_MS = 1000
UNKNOWN = "unknown"
SERVER_COLUMNS = ("name", "leader", "connected", "cid", "sid")

Rows = dict[str, dict[str, dict[str, Any]]]
"""table -> row UUID -> columns in wire form."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a member is."""

    role: str
    """leader, follower, candidate or unknown."""
    term: int = 0
    """0: could not be asked."""
    sid: str = ""
    cid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberPlace:
    """A member and how it is reached; both calls may raise `OvenbirdError` while its host is off."""

    database: Database
    node: str
    remote: Callable[[], str]
    """OVSDB remote, e.g. `unix:/run/ovn/ovnnb_db.sock`."""
    control: Callable[[], str]
    """Path of the control socket."""

    @property
    def name(self) -> str:
        """Name in events."""
        return f"{self.database.short}@{self.node}"


class MemberWatch:
    """One member. `run` until cancelled."""

    def __init__(
        self,
        place: MemberPlace,
        *,
        tables: dict[str, tuple[str, ...]],
        on_standing: Callable[[MemberWatch], None],
        on_rows: Callable[[MemberWatch, bool], None],
        on_lost: Callable[[MemberWatch], None],
    ) -> None:
        """`on_rows(self, first)` is called after each change of `rows`; `first`: after a (re)connect."""
        self.place = place
        self.standing = Standing(UNKNOWN)
        self.rows: Rows = {}
        self._tables = tables
        self._on_standing = on_standing
        self._on_rows = on_rows
        self._on_lost = on_lost
        self._ask = asyncio.Event()

    async def run(self) -> None:
        """Watch for ever."""
        asker = asyncio.create_task(self._ask_standing())
        try:
            while True:
                try:
                    await self._follow()
                except (OvsdbError, OvenbirdError, OSError):
                    self._ask.set()
                await asyncio.sleep(RETRY_S)
        finally:
            asker.cancel()
            await asyncio.gather(asker, return_exceptions=True)

    async def _follow(self) -> None:
        remote = parse_remote(self.place.remote())
        connection = await Connection.open(remote, None, probe_interval_ms=PROBE_MS, timeout_s=ASK_S)
        try:
            await self._monitor(connection, "_Server", {"Database": SERVER_COLUMNS}, self._server_changed)
            if self._tables:
                self.rows = {}
                await self._monitor(connection, self.place.database.value, self._tables, self._data_changed)
            raise ConnectionLost(await connection.closed)
        finally:
            self._on_lost(self)
            await connection.close()

    async def _monitor(
        self,
        connection: Connection,
        database: str,
        tables: dict[str, tuple[str, ...]],
        take: Callable[[dict[str, Any], bool], None],
    ) -> None:
        async def on_update(_method: str, params: list[Any]) -> None:
            take(params[1], False)

        async def on_reply(initial: Any) -> None:
            take(initial, True)

        connection.subscribe(database, on_update)
        wanted = {table: {"columns": list(columns)} for table, columns in tables.items()}
        try:
            await connection.call("monitor", [database, database, wanted], timeout_s=ASK_S, on_reply=on_reply)
        except CallError as error:  # a member that is still joining does not serve its database yet
            raise ConnectionLost(str(error)) from error

    def _server_changed(self, _update: dict[str, Any], _first: bool) -> None:
        self._ask.set()

    def _data_changed(self, update: dict[str, Any], first: bool) -> None:
        for table, rows in update.items():
            there = self.rows.setdefault(table, {})
            for uuid, change in rows.items():
                if "new" in change:
                    there[uuid] = change["new"]
                else:
                    there.pop(uuid, None)
        self._on_rows(self, first)

    async def _ask_standing(self) -> None:
        while True:
            standing = await self._asked()
            if standing != self.standing:
                self.standing = standing
                self._on_standing(self)
            try:
                async with asyncio.timeout(POLL_S):
                    await self._ask.wait()
            except TimeoutError:
                continue
            self._ask.clear()

    async def _asked(self) -> Standing:
        try:
            control, name = self.place.control(), self.place.database.value
            text = await unixctl(control, "cluster/status", name, timeout_s=ASK_S)
        except (OvsdbError, OvenbirdError, OSError):
            return Standing(UNKNOWN)
        status = parse_raft_status(text)
        return Standing(status.role or UNKNOWN, status.term, status.sid, status.cid)
