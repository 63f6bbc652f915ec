"""A live, typed copy of chosen tables and columns, kept by deltas (`monitor_cond_since`; ovsdb-server(7), 4.1.15).

The copy changes only between transactions of the server, in one step, so a reader that does not await sees one
consistent state. While disconnected it keeps the last known content and says so (`synced`). It never writes.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import Any, Self

from ovenbird.ovsdb.changes import Changes, ChangeSet, Tables
from ovenbird.ovsdb.client import Client
from ovenbird.ovsdb.collector import BulkLoad
from ovenbird.ovsdb.connection import CallError
from ovenbird.ovsdb.deltas import Delta, differences, staged
from ovenbird.ovsdb.errors import DeadlineExceeded, NotConnected, OvsdbError
from ovenbird.ovsdb.framing import Converter
from ovenbird.ovsdb.rows import Layout, Row
from ovenbird.ovsdb.schema import ZERO_UUID, Schema
from ovenbird.ovsdb.session import Session
from ovenbird.ovsdb.signal import Signal
from ovenbird.ovsdb.transaction import Condition, encode_condition

log = logging.getLogger(__name__)

DUMP_S = 300.0
"""Longest time for the first full content. Dead peers are found by probes, long before."""
_METHODS = ("monitor_cond_since", "monitor_cond", "monitor")


class Replica:
    """`async with Replica(client, {"Logical_Switch": ["name", "ports"], "NB_Global": None}) as replica`.

    None stands for all columns. What the server's schema lacks is left out: ask `has`. `where` limits a table to rows
    that match ANY of its conditions (the protocol's rule).
    """

    def __init__(
        self,
        client: Client,
        tables: Mapping[str, Sequence[str] | None],
        *,
        where: Mapping[str, Sequence[Condition]] | None = None,
    ) -> None:
        self._client = client
        self._wanted = {table: None if columns is None else tuple(columns) for table, columns in tables.items()}
        self._conditions = dict(where or {})
        self._tables: Tables = {table: {} for table in tables}
        self._layouts: dict[str, Layout] = {}
        self._last_id = ZERO_UUID
        self._session: Session | None = None
        self._loaded = False
        self._problem = ""
        self._subscribers: weakref.WeakSet[Changes] = weakref.WeakSet()
        self._changed = Signal()
        self._task: asyncio.Task[None] | None = None
        self.version = 0
        """Grows by one with each change set that is applied."""

    async def __aenter__(self) -> Self:
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"replica {self._client.database}")
        self._task.add_done_callback(lambda _task: self._changed.fire())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for subscriber in list(self._subscribers):
            subscriber.close()

    # --- reading ---

    @property
    def synced(self) -> bool:
        """Whether the content follows the server right now; False while disconnected or still loading."""
        return self._session is not None and not self._session.ended.done()

    async def ready(self, *, timeout_s: float) -> None:
        """Return once the first full content is there. Raises DeadlineExceeded with the reason why it is not."""
        await self.wait_until(lambda _replica: self._loaded, timeout_s=timeout_s)

    def table(self, name: str) -> Mapping[str, Row]:
        """Return the live rows of a table by UUID; empty when the server lacks it. KeyError if it was not asked for."""
        return MappingProxyType(self._tables[name])

    def has(self, table: str, column: str | None = None) -> bool:
        """Whether this table (or column) exists on the server and is replicated. False before the first content."""
        layout = self._layouts.get(table)
        return layout is not None and (column is None or column in layout.types)

    async def wait_until(self, predicate: Callable[[Replica], bool], *, timeout_s: float) -> None:
        """Return once the predicate holds; it is asked now and after each change. Raises DeadlineExceeded."""
        try:
            async with asyncio.timeout(timeout_s):
                while not predicate(self):
                    self._check_alive()
                    await self._changed.wait()
        except TimeoutError as error:
            why = self._problem or ("" if self._client.connected else f": {self._client.state.reason}")
            raise DeadlineExceeded(f"replica of {self._client.database}: not so within {timeout_s:g} s{why}") from error

    def _check_alive(self) -> None:
        """Make the follower's end its waiters' news, not a silent wait."""
        if self._task is not None and self._task.done():
            if not self._task.cancelled():
                self._task.result()
            raise NotConnected(f"the replica of {self._client.database} was closed")

    def changes(self) -> AsyncIterator[ChangeSet]:
        """Subscribe. The first item is the whole content, as soon as there is one; each further item is a difference.

        A subscriber that lags gets changes merged: memory is bounded by the number of rows.
        """
        subscriber = Changes(self._tables)
        self._subscribers.add(subscriber)
        if self._loaded:
            subscriber.start_with(self._tables)
        return subscriber

    # --- following the server ---

    async def _run(self) -> None:
        session: Session | None = None
        while True:
            session = await self._client.session_after(session)
            try:
                await self._follow(session)
            except OvsdbError as error:
                self._problem = f": {error}"
                log.warning("replica of %s: %s", self._client.database, error)
                session.end(f"cannot replicate: {error}")
            finally:
                self._session = None
            self._changed.fire()

    async def _follow(self, session: Session) -> None:
        layouts = self._choose_layouts(session.schema)
        if {t: v.types for t, v in layouts.items()} != {t: v.types for t, v in self._layouts.items()}:
            self._last_id = ZERO_UUID  # other columns: what we hold is not what a delta would build upon
        key = f"replica-{id(self):x}"
        following = _Following(self, session, layouts)
        session.connection.subscribe(key, following.on_update, following.converter_for)
        try:
            await self._monitor(session, key, layouts, following)
            await asyncio.shield(session.ended)
        finally:
            following.load.end()
            session.connection.unsubscribe(key)
            if not session.ended.done():
                await self._cancel_monitor(session, key)

    async def _monitor(self, session: Session, key: str, layouts: dict[str, Layout], following: _Following) -> None:
        request = {table: [self._request(session.schema, layout)] for table, layout in layouts.items()}
        for method in _METHODS:
            following.method = method
            params: list[Any] = [self._client.database, key, request]
            if method == "monitor_cond_since":
                params.append(self._last_id)
            elif method == "monitor" and self._conditions:
                raise OvsdbError("the server has no conditional monitoring")
            try:
                await session.connection.call(
                    method,
                    params,
                    timeout_s=DUMP_S,
                    on_reply=following.on_reply,
                    converter_for=following.converter_for,
                )
            except CallError as error:
                if error.tag != "unknown method" or method == _METHODS[-1]:
                    raise
            else:
                return

    async def _cancel_monitor(self, session: Session, key: str) -> None:
        try:
            await session.connection.call("monitor_cancel", [key], timeout_s=5.0)
        except OvsdbError as error:
            log.debug("monitor_cancel: %s", error)

    def _choose_layouts(self, schema: Schema) -> dict[str, Layout]:
        layouts = {}
        for name, wanted in self._wanted.items():
            table = schema.tables.get(name)
            if table is not None:
                columns = tuple(table.columns) if wanted is None else tuple(c for c in wanted if c in table.columns)
                layouts[name] = Layout(table, columns)
        return layouts

    def _request(self, schema: Schema, layout: Layout) -> dict[str, Any]:
        request: dict[str, Any] = {"columns": list(layout.columns)}
        conditions = self._conditions.get(layout.table)
        if conditions:
            table = schema.table(layout.table)
            request["where"] = [encode_condition(table, condition) for condition in conditions]
        return request

    # --- applying; called between two awaits ---

    def _adopt(self, session: Session, layouts: dict[str, Layout], last_id: str) -> None:
        self._session, self._layouts, self._last_id, self._problem = session, layouts, last_id, ""

    def _commit(self, delta: Delta, *, resync: bool) -> None:
        first, self._loaded = not self._loaded, True
        undo = delta.apply(self._tables)
        self.version += 1
        for subscriber in list(self._subscribers):
            if first:
                subscriber.start_with(self._tables)
            else:
                subscriber.record(undo, resync=resync)
        self._changed.fire()


class _Following:
    """The replica's ears on one session."""

    def __init__(self, replica: Replica, session: Session, layouts: dict[str, Layout]) -> None:
        self._replica, self._session, self._layouts = replica, session, layouts
        self.load = BulkLoad()
        self.method = ""

    def converter_for(self, table: str) -> Converter | None:
        """Return the function that types a table's new rows while the message is still being read."""
        layout = self._layouts.get(table)
        if layout is None or self.method == "monitor":
            return None
        self.load.begin()
        return layout.convert

    async def on_reply(self, result: Any) -> None:
        """Take the first content, or what happened since `last_id`."""
        replica = self._replica
        found, last_id, tables = result if self.method == "monitor_cond_since" else (False, ZERO_UUID, result)
        self.load.begin()
        delta = await staged(self._layouts, {} if not found else replica._tables, tables)
        rows = sum(len(changed) for changed in delta.rows.values())
        if not found:
            delta = await differences(replica._tables, delta)
        replica._adopt(self._session, self._layouts, last_id)
        replica._commit(delta, resync=not found)
        self.load.end(rows)

    async def on_update(self, method: str, params: list[Any]) -> None:
        """Apply one transaction of the server."""
        if method == "monitor_canceled":
            self._session.end("the server canceled the replica's monitor")
            return
        replica = self._replica
        delta = await staged(self._layouts, replica._tables, params[-1])
        if method == "update3":
            replica._last_id = params[1]
        replica._commit(delta, resync=False)
        self.load.end(sum(len(changed) for changed in delta.rows.values()))
