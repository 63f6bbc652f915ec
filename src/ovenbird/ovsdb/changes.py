"""What changed in a replica, per subscriber: exact, consistent, and bounded however slow the subscriber is.

A subscriber holds, per changed row, only the row as it last saw it. What has changed is worked out when it asks, so
a laggard gets several change sets merged into one, and a row that went and came back unchanged is not mentioned.
Pure bookkeeping; the replica calls it between two awaits, so every change set shows whole transactions only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

from ovenbird.ovsdb.rows import Row
from ovenbird.ovsdb.signal import Signal

Tables = dict[str, dict[str, Row]]
Undo = Mapping[str, Mapping[str, Row | None]]
"""By table and row UUID, the row as it was before (None: it did not exist)."""


class Change(NamedTuple):
    """One row that differs from what the subscriber saw: `old` is None for a new row, `new` for a deleted one."""

    table: str
    uuid: str
    old: Row | None
    new: Row | None


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """All rows that differ from what the subscriber saw before, at a moment between two transactions."""

    rows: tuple[Change, ...]
    initial: bool = False
    """The subscriber's first: the whole content."""
    resync: bool = False
    """The server could not tell what we missed and sent everything; `rows` is the difference that we worked out."""


class Changes:
    """One subscriber's stream: `async for change_set in replica.changes()`. Dropping it unsubscribes."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._seen: dict[str, dict[str, Row | None]] = {}
        self._initial = True
        self._resync = False
        self._dirty = False
        self._closed = False
        self._wake = Signal()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ChangeSet:
        while True:
            if self._dirty:
                change_set = self._take()
                if change_set.rows or change_set.initial:
                    return change_set
            elif self._closed:
                raise StopAsyncIteration
            else:
                await self._wake.wait()

    def record(self, undo: Undo, *, resync: bool) -> None:
        """Take note of rows that have just been replaced."""
        for table, rows in undo.items():
            seen = self._seen.setdefault(table, {})
            for uuid, old in rows.items():
                seen.setdefault(uuid, old)
        self._resync = self._resync or resync
        self._dirty = True
        self._wake.fire()

    def start_with(self, present: Iterable[str]) -> None:
        """Report the whole present content first."""
        self.record({table: dict.fromkeys(self._tables[table]) for table in present}, resync=False)

    def close(self) -> None:
        """End the stream after what is pending."""
        self._closed = True
        self._wake.fire()

    def _take(self) -> ChangeSet:
        seen, self._seen = self._seen, {}
        initial, self._initial = self._initial, False
        resync, self._resync = self._resync, False
        self._dirty = False
        rows = [
            Change(table, uuid, old, new)
            for table, olds in seen.items()
            for uuid, old in olds.items()
            if (new := self._tables[table].get(uuid)) is not old and new != old
        ]
        return ChangeSet(tuple(rows), initial=initial, resync=resync and not initial)
