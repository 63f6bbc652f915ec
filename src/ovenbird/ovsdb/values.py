"""Between Python values and OVSDB's JSON notation (RFC 7047 section 5.1), one function per column, chosen once.

scalar -> int, float, bool, str (UUIDs too); optional -> value or None; set -> frozenset; map -> dict.
Pure. Reading trusts the server, for speed; writing trusts nobody and raises SchemaError.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from sys import intern
from typing import Any

from ovenbird.ovsdb.errors import SchemaError
from ovenbird.ovsdb.schema import ColumnType

Decoder = Callable[[Any], Any]
Merger = Callable[[Any, Any], Any]
Writer = Callable[[Any], Any]

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


def is_uuid(text: str) -> bool:
    """Whether the text is a UUID in lower-case canonical form."""
    return _UUID.fullmatch(text) is not None


# --- reading ---------------------------------------------------------------------------------------------------------


def decoder(column: ColumnType) -> Decoder:
    """Return the function from wire value to Python value for one column."""
    if column.is_map:
        return _map_decoder(column)
    if column.is_scalar:
        return _ATOM_DECODERS[column.key]
    if column.is_optional:
        return _optional_decoder(column.key)
    return _set_decoder(column.key)


def as_is(wire: Any) -> Any:
    """Return what needs no decoding."""
    return wire


def _uuid(wire: Any) -> str:
    return intern(wire[1])


_ATOM_DECODERS: dict[str, Decoder] = {
    "integer": as_is,
    "real": float,
    "boolean": as_is,
    "string": as_is,
    "uuid": _uuid,
}


def _optional_decoder(key: str) -> Decoder:
    atom = _ATOM_DECODERS[key]

    if atom is as_is:
        return lambda wire: (wire[1][0] if wire[1] else None) if type(wire) is list else wire

    def decode(wire: Any) -> Any:
        if type(wire) is list and wire[0] == "set":
            return atom(wire[1][0]) if wire[1] else None
        return atom(wire)

    return decode


def _set_decoder(key: str) -> Decoder:
    if key == "uuid":

        def decode_uuids(wire: Any) -> frozenset[str]:
            if wire[0] == "set":
                return frozenset([intern(atom[1]) for atom in wire[1]])
            return frozenset((intern(wire[1]),))

        return decode_uuids

    atom = _ATOM_DECODERS[key]
    if atom is as_is:
        return lambda wire: frozenset(wire[1] if type(wire) is list else (wire,))

    def decode(wire: Any) -> frozenset[Any]:
        if type(wire) is list:
            return frozenset([atom(item) for item in wire[1]])
        return frozenset((atom(wire),))

    return decode


def _map_decoder(column: ColumnType) -> Decoder:
    if column.key == "string" and column.value == "string":

        def decode_strings(wire: Any) -> dict[str, str]:
            found = {}
            for key, value in wire[1]:  # no comprehension: for two or three pairs it costs more than it saves
                found[intern(key)] = value
            return found

        return decode_strings

    atom_of_key, atom_of_value = _ATOM_DECODERS[column.key], _ATOM_DECODERS[column.value or "string"]

    def decode(wire: Any) -> dict[Any, Any]:
        return {atom_of_key(key): atom_of_value(value) for key, value in wire[1]}

    return decode


def merger(column: ColumnType) -> Merger:
    """Return the function that applies a decoded `modify` of update2/update3 to a value.

    Columns that hold at most one element carry the new value; all others carry a symmetric difference
    (ovsdb-server(7), Update2 Notification). Applying one difference twice gives the wrong value.
    """
    if column.maximum == 1:
        return _replace
    return _merge_maps if column.is_map else _merge_sets


def _replace(_old: Any, new: Any) -> Any:
    return new


def _merge_sets(old: frozenset[Any], difference: frozenset[Any]) -> frozenset[Any]:
    return old ^ difference


def _merge_maps(old: Mapping[Any, Any], difference: Mapping[Any, Any]) -> dict[Any, Any]:
    merged = dict(old)
    for key, value in difference.items():
        if key in merged and merged[key] == value:
            del merged[key]
        else:
            merged[key] = value
    return merged


# --- writing ---------------------------------------------------------------------------------------------------------


def writer(column: ColumnType, place: str) -> Writer:
    """Return the function from Python value to wire value for one column; `place` names it in the SchemaError.

    It is `encode`, with a short way for the values that most rows of a large transaction have.
    """
    full = partial(encode, column, place=place)
    if column.is_map:
        return _text_map_writer(full) if (column.key, column.value) == ("string", "string") else full
    if column.key not in {"string", "uuid"} or column.minimum > 1 or column.maximum not in {1, None}:
        return full
    one = _quick_text if column.key == "string" else _quick_uuid

    def write(value: Any) -> Any:
        if type(value) is str:
            wire = one(value)
            return full(value) if wire is None else wire
        if type(value) is frozenset and value and (column.maximum is None or len(value) == 1):
            wires = [one(each) if type(each) is str else None for each in value]
            if None not in wires:
                return wires[0] if len(wires) == 1 else ["set", wires]
        return full(value)

    return write


def _quick_text(text: str) -> str | None:
    return text if text.isascii() and "\0" not in text else None


def _quick_uuid(text: str) -> list[str] | None:
    return ["uuid", text] if _UUID.fullmatch(text) else None


def _text_map_writer(full: Writer) -> Writer:
    def write(value: Any) -> Any:
        if type(value) is dict:
            pairs = [
                [key, item]
                for key, item in value.items()
                if type(key) is str and type(item) is str and _quick_text(key) is key and _quick_text(item) is item
            ]
            if len(pairs) == len(value):
                return ["map", pairs]
        return full(value)

    return write


def encode(column: ColumnType, value: Any, place: str) -> Any:
    """Return the wire form of a whole column value; `place` names it in the SchemaError."""
    if column.is_map:
        return encode_map(column, value, place)
    atoms = _atoms(value)
    if len(atoms) < column.minimum or (column.maximum is not None and len(atoms) > column.maximum):
        raise SchemaError(f"{place}: {len(atoms)} values, but the schema wants {_range(column)}")
    if len(atoms) == 1:
        return encode_atom(column.key, atoms[0], place)
    return ["set", [encode_atom(column.key, atom, place) for atom in atoms]]


def encode_some(column: ColumnType, value: Any, place: str) -> Any:
    """Return the wire form of part of a column's value, as conditions and mutations take it: any number of elements."""
    if column.is_map and isinstance(value, Mapping):
        return encode_map(column, value, place)
    return encode_keys(column.key, value, place)


def encode_keys(key: str, value: Any, place: str) -> Any:
    """Return the wire form of a set of atoms (a map's keys, too: `mutate ... delete` takes those)."""
    return ["set", [encode_atom(key, atom, place) for atom in _atoms(value)]]


def encode_map(column: ColumnType, value: Any, place: str) -> Any:
    """Return the wire form of a map."""
    if not isinstance(value, Mapping):
        raise SchemaError(f"{place}: wants a mapping, not {value!r}")
    wanted = column.value or "string"
    pairs = [[encode_atom(column.key, key, place), encode_atom(wanted, item, place)] for key, item in value.items()]
    return ["map", pairs]


def encode_atom(kind: str, value: Any, place: str) -> Any:
    """Return the wire form of one atom."""
    if kind == "uuid":
        if isinstance(value, str) and is_uuid(value):
            return ["uuid", value]
    elif kind == "boolean":
        if isinstance(value, bool):
            return value
    elif kind == "string":
        if isinstance(value, str) and _is_sendable(value):
            return value
    elif _is_number(kind, value):
        return value
    raise SchemaError(f"{place}: wants {kind}, not {value!r}")


def _is_sendable(text: str) -> bool:
    """Whether the server's JSON can hold it: a NUL or half a surrogate pair would make it drop the connection."""
    if text.isascii():
        return "\0" not in text
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def _is_number(kind: str, value: Any) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return kind == "real" and isinstance(value, float) and math.isfinite(value)


def _atoms(value: Any) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, (str, int, float)):
        return [value]
    if isinstance(value, Iterable) and not isinstance(value, (Mapping, bytes, bytearray)):
        return list(value)
    return [value]


def _range(column: ColumnType) -> str:
    if column.minimum == column.maximum:
        return f"exactly {column.minimum}"
    most = "any number" if column.maximum is None else str(column.maximum)
    return f"{column.minimum} to {most}"
