from __future__ import annotations

import itertools
import json
import uuid as uuids
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.ovsdb.servers import NB_SCHEMA

from ovenbird.ovsdb import SchemaError, parse_schema
from ovenbird.ovsdb.rows import Layout
from ovenbird.ovsdb.schema import ColumnType, TableSchema
from ovenbird.ovsdb.values import decoder, encode, merger

ATOMS: dict[str, st.SearchStrategy[Any]] = {
    "integer": st.integers(-(2**63), 2**63 - 1),
    "real": st.floats(allow_nan=False, allow_infinity=False),
    "boolean": st.booleans(),
    "string": st.text(st.characters(exclude_characters="\0", codec="utf-8")),
    "uuid": st.uuids().map(str),
}
kinds = st.sampled_from(sorted(ATOMS))


@st.composite
def columns(draw) -> ColumnType:
    key = draw(kinds)
    shape = draw(st.sampled_from(["scalar", "optional", "set", "map"]))
    if shape == "scalar":
        return ColumnType(key)
    if shape == "optional":
        return ColumnType(key, minimum=0)
    return ColumnType(key, draw(kinds) if shape == "map" else None, minimum=0, maximum=None)


def python_values(column: ColumnType) -> st.SearchStrategy[Any]:
    atom = ATOMS[column.key]
    if column.is_map:
        return st.dictionaries(atom, ATOMS[column.value or ""], max_size=6)
    if column.is_scalar:
        return atom
    return st.one_of(st.none(), atom) if column.is_optional else st.frozensets(atom, max_size=6)


@st.composite
def column_with_values(draw, count: int) -> tuple[ColumnType, list[Any]]:
    column = draw(columns())
    return column, [draw(python_values(column)) for _ in range(count)]


@given(column_with_values(1))
def test_what_is_written_is_what_is_read(case):
    column, (value,) = case
    wire = json.loads(json.dumps(encode(column, value, "T.c")))
    found = decoder(column)(wire)
    assert found == value
    assert type(found) is type(value)


def difference(column: ColumnType, old: Any, new: Any) -> Any:
    """What a server would send: the specification, written once more in another way."""
    if column.maximum == 1:
        return new
    if column.is_map:
        gone = {key: value for key, value in old.items() if key not in new}
        return gone | {key: value for key, value in new.items() if old.get(key, object()) != value}
    return frozenset(old) ^ frozenset(new)


@given(column_with_values(2))
def test_a_difference_leads_from_the_old_value_to_the_new(case):
    column, (old, new) = case
    assert merger(column)(old, difference(column, old, new)) == new


@given(column_with_values(3))
def test_a_row_follows_its_modifications_and_forgets_defaults(case):
    column, history = case
    layout = Layout(TableSchema("T", {"c": column}, True), ("c",))
    uuid = str(uuids.UUID(int=1))
    row = layout.row(uuid, {"c": encode(column, history[0], "T.c")})
    for old, new in itertools.pairwise(history):
        row = layout.modified(row, {"c": _wire_difference(column, old, new)})
        assert row["c"] == new
        assert row == layout.full_row(uuid, {"c": encode(column, new, "T.c"), "_uuid": ["uuid", uuid]})


def _wire_difference(column: ColumnType, old: Any, new: Any) -> Any:
    return encode(column, difference(column, old, new), "T.c")


def test_a_row_is_a_read_only_mapping_with_defaults_for_what_was_never_set():
    schema = parse_schema(json.loads(NB_SCHEMA.read_text(encoding="ascii")))
    table = schema.table("Logical_Switch_Port")
    layout = Layout(table, ("name", "tag", "options", "addresses", "up", "ha_chassis_group"))
    row = layout.row("u", {"name": "p"})
    assert dict(row) == {
        "name": "p",
        "tag": None,
        "options": {},
        "addresses": frozenset(),
        "up": None,
        "ha_chassis_group": None,
    }
    row["options"]["mine"] = "1"
    assert row["options"] == {}, "an empty default is nobody's in particular"
    with pytest.raises(KeyError):
        row["type"]
    assert row.get("type") is None
    with pytest.raises(TypeError):
        row["name"] = "q"  # type: ignore[index]
    assert (row.table, row.uuid) == ("Logical_Switch_Port", "u")


@pytest.mark.parametrize("kind", sorted(ATOMS))
@given(value=st.one_of(*ATOMS.values(), st.none(), st.binary(), st.lists(st.integers(), min_size=2)))
def test_a_value_of_another_type_is_refused_never_converted(kind, value):
    """Booleans are not integers here, and text is not a UUID."""
    types = {"integer": int, "real": (int, float), "boolean": bool, "string": str, "uuid": str}
    fits = isinstance(value, types[kind]) and (kind == "boolean" or not isinstance(value, bool))
    if kind == "uuid" and fits:
        fits = str(value).count("-") == 4 and _is_uuid(value)
    if fits:
        encode(ColumnType(kind), value, "T.c")
    else:
        with pytest.raises(SchemaError, match=r"T\.c"):
            encode(ColumnType(kind), value, "T.c")


def _is_uuid(text: str) -> bool:
    try:
        return str(uuids.UUID(text)) == text
    except ValueError:
        return False


@pytest.mark.parametrize("kind", ["string", "integer", "real"])
@pytest.mark.parametrize("value", ["a\0b", "\ud800", 2**63, -(2**63) - 1, float("nan"), float("inf")])
def test_what_would_make_the_server_drop_the_connection_is_refused(kind, value):
    with pytest.raises(SchemaError):
        encode(ColumnType(kind), value, "T.c")
