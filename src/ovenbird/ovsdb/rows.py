"""Rows as the replica hands them out: typed, immutable, small; 60,000 of them are ordinary.

A row keeps only the columns that differ from their defaults; the table's layout, shared by all rows, knows the rest.
Pure; it must never touch the network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from sys import intern
from typing import Any

from ovenbird.ovsdb.schema import ColumnType, TableSchema
from ovenbird.ovsdb.values import Decoder, Merger, as_is, decoder, merger

_EMPTY_MAP: dict[Any, Any] = {}
"""Stands for the default of a map; each reader gets a map of its own."""


class Layout:
    """How rows of one table are decoded: column functions chosen once from the server's schema."""

    __slots__ = ("_decoders", "_mergers", "columns", "defaults", "table", "types")

    def __init__(self, table: TableSchema, columns: tuple[str, ...]) -> None:
        self.table = table.name
        self.columns = columns
        """The replicated columns, in order."""
        self.types: dict[str, ColumnType] = {name: table.column(name) for name in columns}
        self.defaults: dict[str, Any] = {n: kind.default() or _none(kind) for n, kind in self.types.items()}
        decoders = {name: decoder(kind) for name, kind in self.types.items()}
        self._decoders: dict[str, tuple[str, Decoder | None]] = {
            name: (name, None if decode is as_is else decode) for name, decode in decoders.items()
        }
        self._mergers: dict[str, Merger] = {name: merger(kind) for name, kind in self.types.items()}

    def row(self, uuid: str, wire: Mapping[str, Any]) -> Row:
        """Return the row of an `initial` or `insert`, where columns with default values are left out."""
        decoders = self._decoders
        values = {}
        for key, value in wire.items():
            name, decode = decoders[key]  # the schema's own string: one copy of each name, whatever the row count
            values[name] = value if decode is None else decode(value)
        return Row(uuid, self, values)

    def convert(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Type the new rows of update2/update3 while the message is being read; leave all else for later."""
        found: dict[str, Any] = {}
        row = self.row
        for text, change in changes.items():
            wire = change.get("initial") or change.get("insert")
            uuid = intern(text)
            found[uuid] = change if wire is None else row(uuid, wire)
        return found

    def full_row(self, uuid: str, wire: Mapping[str, Any]) -> Row:
        """Return the row of a plain `monitor` or `select`, where defaults are written out."""
        values = self.row(uuid, {key: value for key, value in wire.items() if key in self._decoders})._values
        return Row(uuid, self, self._without_defaults(values))

    def modified(self, row: Row, wire: Mapping[str, Any]) -> Row:
        """Return the row after a `modify` of update2/update3 (symmetric differences)."""
        values = dict(row._values)
        for key, value in wire.items():
            name, decode = self._decoders[key]
            old = values[name] if name in values else self.defaults[name]
            values[name] = self._mergers[name](old, value if decode is None else decode(value))
        return Row(row.uuid, self, self._without_defaults(values))

    def _without_defaults(self, values: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if value != self.defaults[name]}


def _none(kind: ColumnType) -> Any:
    """Return a default that is empty or zero; that of all maps is one and the same."""
    return _EMPTY_MAP if kind.is_map else kind.default()


class Row(Mapping[str, Any]):
    """One row: a read-only mapping from column to typed value, with `.uuid` and `.table`.

    Set and map values are shared between versions of a row and must not be changed by the reader.
    """

    __slots__ = ("_layout", "_values", "uuid")

    def __init__(self, uuid: str, layout: Layout, values: dict[str, Any]) -> None:
        self.uuid = uuid
        """The row's `_uuid` in lower-case text form."""
        self._layout = layout
        self._values = values

    @property
    def table(self) -> str:
        """Name of the row's table."""
        return self._layout.table

    def __getitem__(self, column: str) -> Any:
        values = self._values
        if column in values:
            return values[column]
        default = self._layout.defaults[column]
        return {} if default is _EMPTY_MAP else default

    def __iter__(self) -> Iterator[str]:
        return iter(self._layout.columns)

    def __len__(self) -> int:
        return len(self._layout.columns)

    def __contains__(self, column: object) -> bool:
        return column in self._layout.defaults

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Row):
            return NotImplemented
        if self.uuid != other.uuid or self.table != other.table or self._values != other._values:
            return False
        return self._layout is other._layout or self._layout.columns == other._layout.columns

    def __hash__(self) -> int:
        return hash(self.uuid)

    def __repr__(self) -> str:
        return f"<{self.table} {self.uuid} {self._values!r}>"
