"""One accepted server: the handshake, and the watch over what it says about itself for as long as it is used.

A session is what the client works with between two reconnects. It ends when a connection does, when the server
stops to be what was asked for (leader, connected, same schema), or when the database goes away under it. Its
connections may live a little longer, so that requests which are under way still get their answers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from ovenbird.ovsdb.connection import CallError, Connection
from ovenbird.ovsdb.errors import NotConnected, OvsdbError
from ovenbird.ovsdb.remotes import Remote, Tls
from ovenbird.ovsdb.schema import Schema, parse_schema
from ovenbird.ovsdb.server import SERVER_COLUMNS, ServerDatabase, read_row

log = logging.getLogger(__name__)

_SERVER_MONITOR = "_Server"
_SCHEMA_MONITOR = "schema"
Judge = Callable[[ServerDatabase], None]


class Session:
    """A connection to a server that passed the client's judgement, with that server's schema."""

    def __init__(self, connection: Connection, database: str, judge: Judge, *, bulk: Connection | None = None) -> None:
        self.connection = connection
        self.bulk = bulk
        """A second one, without monitors: a great transaction's reply comes before all that it changed is told."""
        self.database = database
        self.schema: Schema = Schema(database, "", {})
        self.server = ServerDatabase(database, "standalone", True, True, None, None, None, True)
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Why it must not be used any more; not done while it may."""
        for each in self.connections:
            each.closed.add_done_callback(lambda closed: self.end(closed.result()))
        self._judge = judge
        self._row_uuid: str | None = None

    @classmethod
    async def open(
        cls,
        remote: Remote,
        tls: Tls | None,
        database: str,
        judge: Judge,
        *,
        probe_interval_ms: int,
        timeout_s: float,
        with_bulk: bool = False,
    ) -> Session:
        """Connect, look at the server, and judge it. Raises OvsdbError or OSError with the reason why not."""
        opened: list[Connection] = []
        try:
            async with asyncio.timeout(timeout_s):
                connect = partial(
                    Connection.open, remote, tls, probe_interval_ms=probe_interval_ms, timeout_s=timeout_s
                )
                # A server serves its clients in the order in which they came: a reply on the bulk connection goes out
                # before the other one is told what has changed.
                if with_bulk:
                    opened.append(await connect())
                opened.append(await connect())
                session = cls(opened[-1], database, judge, bulk=opened[0] if with_bulk else None)
                await session._handshake(timeout_s)
        except BaseException:
            for connection in opened:
                connection.drop("refused")  # all of them first: who is closed meanwhile may not wait for any
            for connection in opened:
                await connection.close("refused")
            raise
        return session

    @property
    def connections(self) -> tuple[Connection, ...]:
        """The session's connections; when one of them ends, so does it."""
        return (self.connection, self.bulk) if self.bulk else (self.connection,)

    def abort(self, reason: str) -> None:
        """End the connections at once: what is under way there fails now, its outcome unknown."""
        for connection in self.connections:
            connection.abort(reason)

    def end(self, reason: str) -> None:
        """Declare the session over; the client then opens another."""
        if not self.ended.done():
            self.ended.set_result(reason)

    async def _handshake(self, timeout_s: float) -> None:
        await self._be_change_aware(timeout_s)
        await self._watch_server(timeout_s)
        self._judge(self.server)
        try:
            data = await self.connection.call("get_schema", [self.database], timeout_s=timeout_s)
        except CallError as error:
            raise NotConnected(f"does not serve database {self.database} ({error.tag})") from error
        self.schema = parse_schema(data)
        await self._watch_schema(timeout_s)

    async def _watch_schema(self, timeout_s: float) -> None:
        """Keep a monitor of no rows at all: a conversion cancels it, and `_Server` does not always tell of one."""
        table = next(iter(self.schema.tables), None)
        if table is None:
            return
        self.connection.subscribe(_SCHEMA_MONITOR, self._on_schema_change)
        request = {table: [{"columns": [], "where": [False]}]}
        try:
            await self.connection.call("monitor_cond", [self.database, _SCHEMA_MONITOR, request], timeout_s=timeout_s)
        except CallError as error:  # such an old server is not told to keep us connected, either
            log.debug("%s has no monitor_cond: %s", self.connection.remote.text, error)

    async def _on_schema_change(self, method: str, _params: list[Any]) -> None:
        if method == "monitor_canceled":
            self.end("the database was converted or removed")

    async def _be_change_aware(self, timeout_s: float) -> None:
        """Ask to stay connected when databases come, go or change, which the `_Server` monitor tells us."""
        for connection in self.connections:
            try:
                await connection.call("set_db_change_aware", [True], timeout_s=timeout_s)
            except CallError as error:
                log.debug("%s has no set_db_change_aware: %s", connection.remote.text, error)

    async def _watch_server(self, timeout_s: float) -> None:
        connection = self.connection
        connection.subscribe(_SERVER_MONITOR, self._on_notification)
        request = {"Database": [{"columns": list(SERVER_COLUMNS)}]}
        try:
            await connection.call(
                "monitor_cond",
                ["_Server", _SERVER_MONITOR, request],
                timeout_s=timeout_s,
                on_reply=self._on_first_rows,
            )
        except CallError as error:  # before OVS 2.9: no `_Server`, and every database is standalone
            log.debug("%s has no _Server database: %s", connection.remote.text, error)
            return
        if self._row_uuid is None:
            raise NotConnected(f"does not serve database {self.database}")

    async def _on_first_rows(self, tables: Any) -> None:
        for uuid, change in tables.get("Database", {}).items():
            wire = change["initial"]
            if wire.get("name") == self.database:
                self._row_uuid = uuid
                self.server = read_row(wire)

    async def _on_notification(self, method: str, params: list[Any]) -> None:
        if method == "monitor_canceled":
            self.end("the server canceled its own monitor")
            return
        change = params[1].get("Database", {}).get(self._row_uuid)
        if change is None:
            return
        wire = change.get("modify")
        if wire is None:
            self.end(f"database {self.database} was removed")
            return
        self.server = read_row(wire, self.server)
        try:
            self._judge(self.server)
        except OvsdbError as reason:
            self.end(reason.details)
