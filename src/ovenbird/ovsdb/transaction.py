"""Transactions, typed and explicit (RFC 7047 section 5.2).

What to do is collected in Python values and encoded by the server's own schema when it is sent.

Every insert names its row's UUID itself (OVS 2.13 or later), so that a transaction whose outcome is unknown can be
sent again by its owner without making a second row: the repeat fails with DuplicateUuid. Nothing here sends anything.
"""

from __future__ import annotations

import json
import uuid as uuids
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ovenbird.ovsdb.errors import ProtocolError, SchemaError, transaction_error
from ovenbird.ovsdb.rows import Layout, Row
from ovenbird.ovsdb.schema import Schema, TableSchema
from ovenbird.ovsdb.values import Writer, encode, encode_atom, encode_keys, encode_some, is_uuid, writer

Condition = tuple[str, str, Any]
"""(column, function, value), for instance ("external_ids", "includes", {"key": "value"}); RFC 7047 section 5.1."""

_Encoder = Callable[[Schema], dict[str, Any]]
_ARITHMETIC = frozenset({"+=", "-=", "*=", "/=", "%="})
_ORDERINGS = frozenset({"<", "<=", ">", ">="})
_EQUALITIES = frozenset({"==", "!="})


def _json_writer() -> Callable[[Any], str]:
    """Return `JSONEncoder.encode`, without its making anew, for each value, the C function that does the work."""
    encoder = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)
    make = json.encoder.c_make_encoder  # type: ignore[attr-defined]
    if make is None:
        return encoder.encode
    write = make(None, encoder.default, json.encoder.encode_basestring, None, ":", ",", False, False, True)
    return lambda value: "".join(write(value, 0))


_to_json = _json_writer()


@dataclass(frozen=True, slots=True)
class Prepared:
    """Operations encoded beforehand (`Transaction.prepare`), to be sent as part of another transaction."""

    schema: Schema
    """The one by which they were encoded: sent to another server, they are encoded again."""
    texts: Sequence[str]
    source: Transaction


class Transaction:
    """An ordered list of operations that take effect together or not at all."""

    def __init__(self, comment: str | None = None) -> None:
        self._encoders: list[_Encoder | Prepared] = []
        self._comment = comment
        self.asserts_lock = False

    def __len__(self) -> int:
        return sum(len(each.source) if isinstance(each, Prepared) else 1 for each in self._encoders)

    def prepare(self, schema: Schema) -> Prepared:
        """Encode the operations now, for instance in a thread while the server is busy. Raises SchemaError."""
        return Prepared(schema, tuple(self.texts(schema)), self)

    def extend(self, prepared: Prepared) -> None:
        """Go on with operations that were encoded beforehand."""
        self._encoders.append(prepared)

    def insert(self, table: str, row: Mapping[str, Any], *, uuid: str | None = None) -> str:
        """Add a row and return its UUID (a random one unless given), usable as a value at once."""
        chosen = uuid if uuid is not None else str(uuids.uuid4())

        def encoded(schema: Schema) -> dict[str, Any]:
            kind = schema.table(table)
            if not is_uuid(chosen):
                raise SchemaError(f"{table}._uuid: wants uuid, not {chosen!r}")
            return {"op": "insert", "table": table, "uuid": chosen, "row": _row(kind, row)}

        self._encoders.append(encoded)
        return chosen

    def update(
        self,
        table: str,
        row: Mapping[str, Any],
        *,
        uuid: str | None = None,
        where: Sequence[Condition] | None = None,
    ) -> None:
        """Set columns of the row with that UUID, or of all rows that match."""
        _check_target(uuid, where)
        self._encoders.append(
            lambda schema: {
                "op": "update",
                "table": table,
                "where": _where(schema.table(table), uuid, where),
                "row": _row(schema.table(table), row),
            }
        )

    def mutate(
        self,
        table: str,
        column: str,
        mutator: str,
        value: Any,
        *,
        uuid: str | None = None,
        where: Sequence[Condition] | None = None,
    ) -> None:
        """Change a column relative to its value: "insert" and "delete" for sets and maps, "+=" and so on for numbers.

        "delete" on a map takes the keys to remove, or a mapping whose pairs are removed where they match.
        """
        _check_target(uuid, where)
        self._encoders.append(
            lambda schema: {
                "op": "mutate",
                "table": table,
                "where": _where(schema.table(table), uuid, where),
                "mutations": [_mutation(schema.table(table), column, mutator, value)],
            }
        )

    def delete(self, table: str, *, uuid: str | None = None, where: Sequence[Condition] | None = None) -> None:
        """Remove the row with that UUID, or all rows that match."""
        _check_target(uuid, where)
        self._encoders.append(
            lambda schema: {"op": "delete", "table": table, "where": _where(schema.table(table), uuid, where)}
        )

    def wait(
        self,
        table: str,
        *,
        where: Sequence[Condition],
        columns: Sequence[str] = (),
        rows: Sequence[Mapping[str, Any]] = (),
        until: str = "==",
        timeout_ms: int = 0,
    ) -> None:
        """Go on only if `columns` of the matching rows are (`until` "==") or are not ("!=") exactly `rows`.

        With the default timeout of 0 the server decides at once: WaitFailed, or on to the next operation.
        """
        self._encoders.append(
            lambda schema: {
                "op": "wait",
                "table": table,
                "timeout": timeout_ms,
                "where": _where(schema.table(table), None, where),
                "columns": [_known(schema.table(table), name) for name in columns],
                "until": until,
                "rows": [_row(schema.table(table), row) for row in rows],
            }
        )

    def wait_exists(self, table: str, *, uuid: str, where: Sequence[Condition] = ()) -> None:
        """Fence: fail with WaitFailed unless that row exists and matches `where` at the moment of the commit."""
        self.wait(table, where=[("_uuid", "==", uuid), *where], until="!=")

    def select(self, table: str, *, where: Sequence[Condition] = (), columns: Sequence[str] | None = None) -> None:
        """Read rows within the transaction; `Result.rows(i)` has them."""

        def encoded(schema: Schema) -> dict[str, Any]:
            kind = schema.table(table)
            wanted = list(kind.columns) if columns is None else [_known(kind, name) for name in columns]
            return {"op": "select", "table": table, "where": _where(kind, None, where), "columns": ["_uuid", *wanted]}

        self._encoders.append(encoded)

    def assert_lock(self, name: str) -> None:
        """Go on only if this connection holds the lock. A hint, not a fence: locks are local to one server."""
        self.asserts_lock = True
        self._encoders.append(lambda _schema: {"op": "assert", "lock": name})

    def comment(self, text: str) -> None:
        """Leave a note in the server's log (`ovsdb-tool show-log`), kept until the next compaction."""
        self._encoders.append(lambda _schema: {"op": "comment", "comment": text})

    def operations(self, schema: Schema) -> Iterator[dict[str, Any]]:
        """Yield the operations in wire form. Raises SchemaError when one does not fit the schema."""
        for each in self._encoders:
            if isinstance(each, Prepared):
                yield from each.source.operations(schema)
            else:
                yield each(schema)
        if self._comment is not None:
            yield {"op": "comment", "comment": self._comment}

    def texts(self, schema: Schema) -> Iterator[str]:
        """Yield the operations as JSON texts. Raises SchemaError when one does not fit the schema."""
        for part in self.parts(schema):
            yield from part

    def parts(self, schema: Schema) -> Iterator[Sequence[str]]:
        """Yield those texts so that each part is the work of one operation: all that was encoded beforehand is one."""
        for each in self._encoders:
            if not isinstance(each, Prepared):
                yield (_to_json(each(schema)),)
            elif each.schema is schema:
                yield each.texts
            else:
                yield from each.source.parts(schema)
        if self._comment is not None:
            yield (_to_json({"op": "comment", "comment": self._comment}),)


@dataclass(frozen=True, slots=True)
class Result:
    """What the server answered, by operation index (a comment given to the constructor is the last one)."""

    schema: Schema
    operations: Sequence[str]
    """The operations as JSON texts: kept as decoded values, those of a large transaction would burden the collector."""
    answers: Sequence[Mapping[str, Any]]

    def count(self, index: int) -> int:
        """Return how many rows an update, mutate or delete touched."""
        return int(self.answers[index]["count"])

    def uuid(self, index: int) -> str:
        """Return the UUID of an inserted row."""
        return str(self.answers[index]["uuid"][1])

    def rows(self, index: int) -> tuple[Row, ...]:
        """Return the rows of a select."""
        operation = json.loads(self.operations[index])
        columns = tuple(name for name in operation["columns"] if name not in {"_uuid", "_version"})
        layout = Layout(self.schema.table(operation["table"]), columns)
        return tuple(layout.full_row(wire["_uuid"][1], wire) for wire in self.answers[index]["rows"])


def read_answers(operations: Sequence[str], answers: Any) -> Sequence[Mapping[str, Any]]:
    """Check a transact reply; return one answer per operation.

    Raises the typed TransactionError of the first operation that failed, or of the extra element that the server
    appends when every operation went well but the commit did not (RFC 7047 section 4.1.3).
    """
    if not isinstance(answers, list):
        raise ProtocolError(f"a transact reply must be a list, not {answers!r:.100}")
    for index, answer in enumerate(answers):
        if isinstance(answer, dict) and "error" in answer:
            if index < len(operations):
                raise transaction_error(answer, operation_index=index, operation=json.loads(operations[index]))
            raise transaction_error(answer)
    if len(answers) != len(operations) or None in answers:
        raise ProtocolError(f"{len(operations)} operations, but {len(answers)} answers without an error")
    return answers


def _check_target(uuid: str | None, where: Sequence[Condition] | None) -> None:
    """Insist on a target: an update or delete of every row must be asked for with an explicit empty `where`."""
    if (uuid is None) == (where is None):
        raise SchemaError("name the rows by exactly one of uuid and where")


def _known(table: TableSchema, column: str) -> str:
    table.column(column)
    return column


def _row(table: TableSchema, row: Mapping[str, Any]) -> dict[str, Any]:
    writers = table.writers
    return {name: (writers.get(name) or _writer(table, name))(value) for name, value in row.items()}


def _writer(table: TableSchema, name: str) -> Writer:
    found = table.writers[name] = writer(table.column(name), f"{table.name}.{name}")
    return found


def _where(table: TableSchema, uuid: str | None, where: Sequence[Condition] | None) -> list[Any]:
    if uuid is not None:
        return [["_uuid", "==", encode_atom("uuid", uuid, f"{table.name}._uuid")]]
    return [encode_condition(table, condition) for condition in where or ()]


def encode_condition(table: TableSchema, condition: Condition) -> list[Any]:
    """Return a condition in wire form. Raises SchemaError."""
    name, function, value = condition
    column, place = table.column(name), f"{table.name}.{name}"
    if function in _ORDERINGS:
        return [name, function, encode_atom(column.key, value, place)]
    if function in _EQUALITIES:
        return [name, function, encode(column, value, place)]
    if function in {"includes", "excludes"}:
        scalar = column.is_scalar
        return [name, function, encode(column, value, place) if scalar else encode_some(column, value, place)]
    raise SchemaError(f"{place}: unknown condition {function!r}")


def _mutation(table: TableSchema, name: str, mutator: str, value: Any) -> list[Any]:
    column, place = table.column(name), f"{table.name}.{name}"
    if mutator in _ARITHMETIC:
        return [name, mutator, encode_atom(column.key, value, place)]
    if mutator == "insert":
        return [name, mutator, encode_some(column, value, place)]
    if mutator == "delete":
        keys = not isinstance(value, Mapping)
        wire = encode_keys(column.key, value, place) if keys else encode_some(column, value, place)
        return [name, mutator, wire]
    raise SchemaError(f"{place}: unknown mutator {mutator!r}")
