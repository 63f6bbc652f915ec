"""Turning a monitor's rows into one atomic change of a replica's tables.

Decoding is done beforehand, in slices with the event loop running in between; applying is one short step. Only the
connection's reader calls this, one message at a time, so the tables do not change under a delta that is being staged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

from ovenbird.ovsdb.changes import Tables
from ovenbird.ovsdb.rows import Layout, Row

SLICE_ROWS = 2000
"""Rows handled between two pauses: about 10 ms."""


class Delta:
    """By table and row UUID, the row as it shall be (None: gone)."""

    __slots__ = ("rows",)

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Row | None]] = {}

    def apply(self, tables: Tables) -> dict[str, dict[str, Row | None]]:
        """Put the rows into the tables; return what was there before."""
        undo: dict[str, dict[str, Row | None]] = {}
        for table, changes in self.rows.items():
            rows = tables[table]
            undo[table] = {uuid: rows.get(uuid) for uuid in changes} if rows else dict.fromkeys(changes)
            gone = [uuid for uuid, new in changes.items() if new is None]
            rows.update(cast("dict[str, Row]", changes))  # in one go: a first content has many thousands
            for uuid in gone:
                del rows[uuid]
        return undo


async def staged(layouts: Mapping[str, Layout], tables: Mapping[str, Mapping[str, Row]], wire: Any) -> Delta:
    """Decode `<table-updates>` of any monitor version against the present rows.

    The rows of `wire` may have been typed already, while the message was read. Consumes `wire`.
    """
    delta = Delta()
    handled = 0
    for table, changes in wire.items():
        layout, present = layouts[table], tables.get(table, {})
        if set(map(type, changes.values())) <= {Row}:
            delta.rows[table] = changes
            continue
        rows = delta.rows[table] = {}
        for uuid, change in changes.items():
            rows[uuid] = change if type(change) is Row else _row_after(layout, present.get(uuid), uuid, change)
            handled += 1
            if handled % SLICE_ROWS == 0:
                await asyncio.sleep(0)
    return delta


def _row_after(layout: Layout, old: Row | None, uuid: str, change: Mapping[str, Any]) -> Row | None:
    if "initial" in change:
        return layout.row(uuid, change["initial"])
    if "insert" in change:
        return layout.row(uuid, change["insert"])
    if "modify" in change:
        if old is None:
            raise ValueError(f"the server modified row {uuid} of {layout.table}, which it never sent")
        return layout.modified(old, change["modify"])
    if "new" in change:  # plain `monitor`: whole rows, and only changed columns in "old"
        return layout.full_row(uuid, change["new"])
    return None


async def differences(present: Tables, whole: Delta) -> Delta:
    """Reduce a whole new content to what differs from the present one. Consumes `whole`."""
    delta = Delta()
    handled = 0
    for table, old_rows in present.items():
        new_rows = whole.rows.pop(table, {})
        if not old_rows:
            delta.rows[table] = new_rows
            continue
        rows: dict[str, Row | None] = {uuid: None for uuid in old_rows if uuid not in new_rows}
        for uuid, new in new_rows.items():
            if old_rows.get(uuid) != new:
                rows[uuid] = new
            handled += 1
            if handled % SLICE_ROWS == 0:
                await asyncio.sleep(0)
        delta.rows[table] = rows
    return delta
