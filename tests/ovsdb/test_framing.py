from __future__ import annotations

import itertools
import json
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovenbird.ovsdb.errors import ProtocolError
from ovenbird.ovsdb.framing import JsonStream

texts = st.text(
    alphabet=st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from('"\\{}[]:,/\n\t\u00e9\U0001f600'))
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=30,
)
messages = st.lists(st.dictionaries(texts, values, max_size=5), max_size=4)
layouts = st.sampled_from([{"separators": (",", ":")}, {"indent": 1}, {}])


def encoded(documents: list[dict[str, Any]], layout: dict[str, Any], ascii_only: bool, glue: str) -> bytes:
    return glue.join(json.dumps(document, ensure_ascii=ascii_only, **layout) for document in documents).encode()


def decoded(data: bytes, cuts: list[int], stream: JsonStream) -> list[dict[str, Any]]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    found: list[dict[str, Any]] = []
    for start, end in itertools.pairwise(edges):
        found += stream.feed(data[start:end])
    return found


@pytest.fixture(params=[0, 32 * 1024], ids=["walked", "whole"])
def whole_chars(request, monkeypatch):
    """Both ways through a message: in one go when it is small, and level by level."""
    monkeypatch.setattr("ovenbird.ovsdb.framing._WHOLE_CHARS", request.param)


@pytest.mark.usefixtures("whole_chars")
class TestAnyCut:
    @given(messages, layouts, st.booleans(), st.sampled_from(["", "\n", " \r\n\t"]), st.lists(st.integers(0, 10**6)))
    def test_documents_arrive_whole_however_the_bytes_were_cut(self, documents, layout, ascii_only, glue, cuts):
        stream = JsonStream()
        assert decoded(encoded(documents, layout, ascii_only, glue), cuts, stream) == documents
        assert stream.idle

    @settings(max_examples=30)
    @given(messages, layouts)
    def test_byte_by_byte(self, documents, layout):
        data = encoded(documents, layout, False, "")
        assert decoded(data, list(range(len(data))), JsonStream()) == documents

    @given(
        st.dictionaries(
            texts, st.dictionaries(texts, st.dictionaries(texts, values, max_size=3), max_size=5), max_size=3
        ),
        layouts,
        st.lists(st.integers(0, 10**6)),
    )
    def test_rows_are_converted_while_they_are_read(self, tables, layout, cuts):
        message = {"id": 7, "result": [False, "0", tables], "error": None}

        def converter_for(so_far: dict[str, Any], table: str):
            assert so_far["id"] == 7, "what came before is known"
            return lambda rows: {uuid: ("typed", table, uuid, row) for uuid, row in rows.items()}

        (found,) = decoded(encoded([message], layout, False, ""), cuts, JsonStream(converter_for)) or [message]
        expected = {
            table: {uuid: ("typed", table, uuid, row) for uuid, row in rows.items()} for table, rows in tables.items()
        }
        if found is not message and _was_walked(found):
            assert found["result"][2] == expected
        else:
            assert found == message

    @given(st.lists(st.one_of(st.dictionaries(texts, values, max_size=2), values)), layouts, st.lists(st.integers(0)))
    def test_answers_arrive_whole_however_the_bytes_were_cut(self, answers, layout, cuts):
        message = {"id": 7, "result": answers, "error": None}
        assert decoded(encoded([message], layout, False, ""), cuts, JsonStream()) == [message]


def _was_walked(message: dict[str, Any]) -> bool:
    return any(type(row) is tuple for rows in message["result"][2].values() for row in rows.values())


def test_one_huge_value_is_walked_and_not_tried_again_with_every_piece(monkeypatch):
    monkeypatch.setattr("ovenbird.ovsdb.framing._DESCEND_CHARS", 1000)
    row = {"initial": {"ports": ["set", [["uuid", f"{number:036}"] for number in range(2000)]], "name": 'x,]}\\"'}}
    message = {"id": 1, "result": [True, "0", {"T": {"u": row}}], "error": None}
    data = json.dumps(message).encode()
    stream = JsonStream(lambda _message, _table: lambda rows: {uuid: (uuid, row) for uuid, row in rows.items()})
    found = [message for start in range(0, len(data), 777) for message in stream.feed(data[start : start + 777])]
    assert found == [{"id": 1, "result": [True, "0", {"T": {"u": ("u", row)}}], "error": None}]


class TestRowsAtOnce:
    """Rows as ovsdb-server writes them; what looks like the end of one may be in a string, or end the table."""

    TABLES: ClassVar = {
        "A": {"1": {"initial": {"name": "x}}", "ids": ["map", [["k", '}},"']]]}}, "2": {"initial": {"name": "}},"}}},
        "B": {},
        "C": {f"{number}": {"insert": {"name": f"port-{number}"}} for number in range(50)},
        "D": {"1": {"delete": None}, "2": {"modify": {"name": "\U0001f600"}}, "3": {"initial": {}}},
    }

    @pytest.mark.parametrize("rows_chars", [1, 40, 100, 32 * 1024])
    @pytest.mark.parametrize("step", [1, 7, 100, 100_000])
    def test_every_row_arrives_once_and_is_converted(self, monkeypatch, rows_chars, step):
        monkeypatch.setattr("ovenbird.ovsdb.framing._WHOLE_CHARS", 0)
        monkeypatch.setattr("ovenbird.ovsdb.framing._ROWS_CHARS", rows_chars)
        message = {"id": 1, "result": [True, "0", self.TABLES], "error": None}
        data = json.dumps(message, separators=(",", ":")).encode()
        seen: list[tuple[str, str]] = []

        def converter_for(_message: dict[str, Any], table: str):
            def convert(rows):
                seen.extend((table, uuid) for uuid in rows)
                return {uuid: ("typed", row) for uuid, row in rows.items()}

            return convert

        stream = JsonStream(converter_for)
        (found,) = [message for at in range(0, len(data), step) for message in stream.feed(data[at : at + step])]
        assert found["result"][2] == {
            table: {uuid: ("typed", row) for uuid, row in rows.items()} for table, rows in self.TABLES.items()
        }
        assert sorted(seen) == sorted((table, uuid) for table, rows in self.TABLES.items() for uuid in rows)


@pytest.mark.parametrize(
    "data",
    [
        b"[]",
        b"x",
        b'{"a":}',
        b'{"a":1,}',
        b'{"a" 1}',
        b'{,"a":1}',
        b'{"a":[1,,2]}',
        b'{"a":tru e, "bbbbbbbbbbbbbbbbb":1}',
    ],
)
@pytest.mark.usefixtures("whole_chars")
def test_what_is_not_json_is_refused(data):
    stream = JsonStream()
    with pytest.raises(ProtocolError):
        stream.feed(data + b" " * 100)


def test_bytes_that_are_not_utf8_are_refused():
    with pytest.raises(ProtocolError, match="UTF-8"):
        JsonStream().feed(b'{"a":"\xff"}')


def test_hopelessly_deep_nesting_is_refused_not_a_crash():
    with pytest.raises(ProtocolError, match="nested"):
        JsonStream().feed(b'{"a":' + b"[" * 200_000)
