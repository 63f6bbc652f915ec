"""A server's schema as typed values (RFC 7047 section 3.2): what may be read, and how values are to be written.

Pure. It must never guess: what the server does not declare does not exist here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ovenbird.ovsdb.errors import ProtocolError, SchemaError

ZERO_UUID = "00000000-0000-0000-0000-000000000000"
_DEFAULT_ATOMS: dict[str, Any] = {"integer": 0, "real": 0.0, "boolean": False, "string": "", "uuid": ZERO_UUID}


@dataclass(frozen=True, slots=True)
class ColumnType:
    """`<type>` of RFC 7047: a scalar, an optional scalar, a set or a map of atoms."""

    key: str
    """Atomic type: integer, real, boolean, string or uuid."""
    value: str | None = None
    """Atomic type of a map's values; None when this is not a map."""
    minimum: int = 1
    maximum: int | None = 1
    """None: unlimited."""
    ref_table: str | None = None
    """For UUIDs: the table that they point into."""

    @property
    def takes_text(self) -> bool:
        """Whether one text is a whole value."""
        return self.key == "string" and self.value is None and self.minimum <= 1

    @property
    def is_map(self) -> bool:
        """Whether values are dicts."""
        return self.value is not None

    @property
    def is_scalar(self) -> bool:
        """Whether there is always exactly one atom."""
        return self.value is None and self.minimum == 1 and self.maximum == 1

    @property
    def is_optional(self) -> bool:
        """Whether there is one atom or None."""
        return self.value is None and self.minimum == 0 and self.maximum == 1

    def default(self) -> Any:
        """Return the value of a column that was never set (RFC 7047 section 5.2.1)."""
        if self.is_map:
            return {} if self.minimum == 0 else {_DEFAULT_ATOMS[self.key]: _DEFAULT_ATOMS[self.value or ""]}
        if self.is_scalar:
            return _DEFAULT_ATOMS[self.key]
        if self.is_optional:
            return None
        return frozenset() if self.minimum == 0 else frozenset({_DEFAULT_ATOMS[self.key]})


UUID_TYPE = ColumnType("uuid")


@dataclass(frozen=True, slots=True)
class TableSchema:
    """One table: its columns (without `_uuid` and `_version`) and indexes."""

    name: str
    columns: Mapping[str, ColumnType]
    is_root: bool
    indexes: tuple[tuple[str, ...], ...] = ()
    writers: dict[str, Callable[[Any], Any]] = field(default_factory=dict, compare=False, repr=False)
    """By column, the function that encodes its values; filled by whoever writes first."""

    def column(self, name: str) -> ColumnType:
        """Return a column's type; `_uuid` and `_version` exist in every table. Raises SchemaError."""
        found = self.columns.get(name)
        if found is not None:
            return found
        if name in {"_uuid", "_version"}:
            return UUID_TYPE
        raise SchemaError(f"table {self.name} has no column {name}")


@dataclass(frozen=True, slots=True)
class Schema:
    """One database's schema."""

    name: str
    version: str
    tables: Mapping[str, TableSchema]
    checksum: str = ""

    def table(self, name: str) -> TableSchema:
        """Return a table; raises SchemaError when the server does not have it."""
        found = self.tables.get(name)
        if found is None:
            raise SchemaError(f"database {self.name} {self.version} has no table {name}")
        return found

    def has(self, table: str, column: str | None = None) -> bool:
        """Whether the server has that table, or that column of it."""
        found = self.tables.get(table)
        return found is not None and (column is None or column in found.columns)


def parse_schema(data: Any) -> Schema:
    """Read a `<database-schema>` as `get_schema` returns it. Raises ProtocolError."""
    try:
        tables = {name: _parse_table(name, table) for name, table in data["tables"].items()}
        explicit_roots = any(table.get("isRoot") for table in data["tables"].values())
        if not explicit_roots:  # schemas from before isRoot: every table is a root
            tables = {n: TableSchema(n, t.columns, True, t.indexes) for n, t in tables.items()}
        return Schema(str(data["name"]), str(data.get("version", "")), tables, str(data.get("cksum", "")))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ProtocolError(f"the server's schema cannot be read: {error!r}") from error


def _parse_table(name: str, data: Any) -> TableSchema:
    columns = {column: _parse_type(spec["type"]) for column, spec in data["columns"].items()}
    indexes = tuple(tuple(index) for index in data.get("indexes", ()))
    return TableSchema(name, columns, bool(data.get("isRoot", False)), indexes)


def _parse_type(data: Any) -> ColumnType:
    if isinstance(data, str):
        return ColumnType(_atomic(data))
    key, ref_table = _parse_base(data["key"])
    value = _parse_base(data["value"])[0] if "value" in data else None
    maximum = data.get("max", 1)
    return ColumnType(key, value, int(data.get("min", 1)), None if maximum == "unlimited" else int(maximum), ref_table)


def _parse_base(data: Any) -> tuple[str, str | None]:
    if isinstance(data, str):
        return _atomic(data), None
    return _atomic(data["type"]), data.get("refTable")


def _atomic(name: str) -> str:
    if name not in _DEFAULT_ATOMS:
        raise ValueError(f"unknown atomic type {name!r}")
    return name
