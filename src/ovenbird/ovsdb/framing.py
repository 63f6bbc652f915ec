"""From bytes to JSON documents, in slices: OVSDB sends JSON texts back to back, with no other framing (RFC 7047, 4).

A dump of a large database is one document of tens of megabytes. Decoded in one `json.loads` it would hold the
interpreter for seconds, so the outer levels (message, result, tables, rows) are walked here and only the innermost
values, rows, go to the C decoder, as many at a time as their bytes are here. Memory holds the unread tail, not
the document; work per `feed` is proportional to what was fed; and rows may be turned into what the receiver wants
while the rest of the dump is still on its way.

This module must never do I/O, and must never know what the messages mean.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable
from json.decoder import scanstring  # type: ignore[attr-defined]  # the C function behind every JSON string
from typing import Any

from ovenbird.ovsdb.errors import ProtocolError

Converter = Callable[[dict[str, Any]], dict[str, Any]]
"""From rows as they were decoded to what is kept of them, both by UUID."""
ConverterFor = Callable[[dict[str, Any], str], Converter | None]

_SCAN: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
_BLANKS = " \t\r\n"
_ROW_DEPTH = 4
"""message {} > result [] > tables {} > rows {} > one row: the level at which the C decoder takes over."""
_RESULT_DEPTH = 2
"""message {} > result []: where the answers to the operations of a transaction are."""
_ANSWERS = re.compile(r"(?:\{[^{}]*\},)+")
"""Answers that hold no rows, as far as it can be told without reading strings."""
_BETWEEN_ROWS = '}},"'
_ROWS_CHARS = 32 * 1024
"""So much text of rows is decoded in one go: what it becomes still fits the processor's cache when it is typed."""
_WHOLE_CHARS = 32 * 1024
"""Up to this much text a message is tried in one go: almost every message but a dump."""
_DESCEND_CHARS = 512 * 1024
"""A value that is longer than this and not complete is walked instead of being tried again and again."""
_LONGEST_TOKEN = 12
"""An error this near to the end of the text may be a cut token (`\\ud83d\\ude00` is the longest)."""
_NUMBER_PART = re.compile(r"[.eE]?[+-]?")

_START, _AFTER_VALUE, _AFTER_COMMA = range(3)


class _Frame:
    """One open container."""

    __slots__ = ("attached", "closer", "container", "convert", "key", "state")

    def __init__(self, container: Any, convert: Converter | None, attached: bool) -> None:
        self.container = container
        self.attached = attached
        self.closer = "}" if isinstance(container, dict) else "]"
        self.convert = convert
        self.key: str | None = None
        self.state = _START


class _Incomplete(Exception):
    """The next token is not wholly here yet."""


class JsonStream:
    """Incremental decoder of concatenated JSON objects.

    `converter_for(message so far, key)` is asked when a container four levels down is entered (the rows of one table in
    a monitor reply or update); the function that it returns maps decoded rows to what is kept instead.
    """

    def __init__(self, converter_for: ConverterFor | None = None) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("strict").decode
        self._converter_for = converter_for
        self._text = ""
        self._pos = 0
        self._stack: list[_Frame] = []
        self._done: list[dict[str, Any]] = []

    @property
    def idle(self) -> bool:
        """Whether no document is half read."""
        return not self._stack and not self._text[self._pos :].strip(_BLANKS)

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """Take more bytes, however they were cut; return the messages that are now complete.

        Raises ProtocolError when the bytes are not a sequence of JSON objects in UTF-8.
        """
        try:
            self._text = self._text[self._pos :] + self._decode(data)
        except UnicodeDecodeError as error:
            raise ProtocolError(f"not UTF-8: {error}") from error
        self._pos = 0
        try:
            while True:
                self._step()
        except _Incomplete:
            done, self._done = self._done, []
            return done

    def _step(self) -> None:
        """Read one token or one whole innermost value."""
        char = self._peek()
        if not self._stack:
            self._begin_message(char)
            return
        frame = self._stack[-1]
        if char == frame.closer and frame.state != _AFTER_COMMA and frame.key is None:
            self._pos += 1
            self._stack.pop()
            self._leave(frame)
        elif frame.state == _AFTER_VALUE:
            self._expect(",")
            frame.state = _AFTER_COMMA
        elif frame.closer == "}" and frame.key is None:
            if len(self._stack) == _ROW_DEPTH and self._read_rows(frame):
                return
            frame.key = self._read_key()
        elif char == "{" and len(self._stack) == _RESULT_DEPTH and self._read_answers(frame):
            return
        else:
            self._read_value(char)

    def _begin_message(self, char: str) -> None:
        if char != "{":
            raise ProtocolError(f"a message must be a JSON object, not {self._text[self._pos : self._pos + 40]!r}")
        if len(self._text) - self._pos <= _WHOLE_CHARS:
            try:
                message, self._pos = self._scan()
            except _Incomplete:
                pass
            else:
                self._done.append(message)
                return
        self._pos += 1
        self._stack.append(_Frame({}, None, False))

    def _read_key(self) -> str:
        if self._text[self._pos] != '"':
            raise ProtocolError(f"expected a name, not {self._text[self._pos : self._pos + 40]!r}")
        try:
            key: str
            key, end = scanstring(self._text, self._pos + 1, True)
        except json.JSONDecodeError as error:
            raise self._cut_or_bad(error) from error
        start, self._pos = self._pos, end
        try:
            self._peek()
        except _Incomplete:
            self._pos = start
            raise
        self._expect(":")
        return key

    def _read_value(self, char: str) -> None:
        if char in "{[" and len(self._stack) < _ROW_DEPTH:
            self._enter(char)
            return
        try:
            value, end = self._scan()
        except _Incomplete:
            if char in "{[" and len(self._text) - self._pos > _DESCEND_CHARS:
                self._enter(char)
                return
            raise
        if _NUMBER_PART.fullmatch(self._text, end):
            raise _Incomplete  # a number may go on in the next bytes ("0" of "0.5"); some delimiter always follows
        self._pos = end
        self._attach(value)

    def _read_rows(self, frame: _Frame) -> bool:
        """Read rows in compact form, which is how ovsdb-server writes, as many as are here; the hot path.

        Whatever looks different is left to the general steps. Returns whether there was any.
        """
        rows = self._rows_at_once() or self._rows_one_by_one()
        if not rows:
            return False
        frame.container.update(rows if frame.convert is None else frame.convert(rows))
        frame.state = _AFTER_COMMA
        return True

    def _rows_at_once(self) -> dict[str, Any]:
        """Read all up to the last place that looks like the end of a row, if that is what it is.

        Where it is not (in a string, or behind the table's last row), the text up to there is no JSON object.
        """
        text, pos = self._text, self._pos
        cut = text.rfind(_BETWEEN_ROWS, pos, pos + _ROWS_CHARS)
        if cut < 0 or text[pos] != '"':
            return {}
        try:
            rows, end = _SCAN(whole := f"{{{text[pos : cut + 2]}}}", 0)
        except (StopIteration, json.JSONDecodeError, RecursionError):
            return {}
        if end != len(whole):
            return {}
        self._pos = cut + 3
        found: dict[str, Any] = rows
        return found

    def _rows_one_by_one(self) -> dict[str, Any]:
        """Read `"key":value,` again and again, as long as they look so."""
        text, pos, found = self._text, self._pos, dict[str, Any]()
        end = len(text)
        while True:
            quote = text.find('"', pos + 1)
            if quote < 0 or text[pos] != '"' or text[quote + 1 : quote + 2] != ":":
                break
            key = text[pos + 1 : quote]
            if "\\" in key:
                break
            try:
                value, after = _SCAN(text, quote + 2)
            except (StopIteration, json.JSONDecodeError):
                break
            if after + 1 >= end or text[after] != ",":
                break
            found[key] = value
            pos = after + 1
        self._pos = pos
        return found

    def _read_answers(self, frame: _Frame) -> bool:
        """Read a run of `{...},` without rows in it in one go: a large transaction has as many as operations.

        Where a brace in a string made the run end too early, it is no JSON, and is left to the general steps. Returns
        whether there was any.
        """
        run = _ANSWERS.match(self._text, self._pos) if frame.closer == "]" else None
        if run is None:
            return False
        try:
            answers, end = _SCAN(text := f"[{run[0][:-1]}]", 0)
        except (StopIteration, json.JSONDecodeError):
            return False
        if end != len(text):
            return False
        frame.container.extend(answers)
        frame.state = _AFTER_COMMA
        self._pos = run.end()
        return True

    def _enter(self, char: str) -> None:
        self._pos += 1
        parent = self._stack[-1]
        convert = None
        if char == "{" and len(self._stack) == _ROW_DEPTH - 1 and parent.key is not None and self._converter_for:
            convert = self._converter_for(self._stack[0].container, parent.key)
        container: Any = {} if char == "{" else []
        early = parent.convert is None  # what was read so far must be visible to `converter_for`
        if early and parent.key is None:
            parent.container.append(container)
        elif early:
            parent.container[parent.key] = container
        self._stack.append(_Frame(container, convert, early))

    def _leave(self, frame: _Frame) -> None:
        if not frame.attached:
            self._attach(frame.container)
            return
        parent = self._stack[-1]
        parent.key, parent.state = None, _AFTER_VALUE

    def _attach(self, value: Any) -> None:
        if not self._stack:
            self._done.append(value)
            return
        frame = self._stack[-1]
        frame.state = _AFTER_VALUE
        if frame.key is None:
            frame.container.append(value)
            return
        row = {frame.key: value}
        frame.container.update(row if frame.convert is None else frame.convert(row))
        frame.key = None

    def _peek(self) -> str:
        text, pos = self._text, self._pos
        end = len(text)
        while pos < end and text[pos] in _BLANKS:
            pos += 1
        self._pos = pos
        if pos >= end:
            raise _Incomplete
        return text[pos]

    def _expect(self, wanted: str) -> None:
        if self._text[self._pos] != wanted:
            raise ProtocolError(f"expected {wanted!r}, not {self._text[self._pos : self._pos + 40]!r}")
        self._pos += 1

    def _scan(self) -> tuple[Any, int]:
        try:
            return _SCAN(self._text, self._pos)
        except StopIteration as error:
            raise self._cut_or_bad(json.JSONDecodeError("Expecting value", self._text, error.value)) from error
        except json.JSONDecodeError as error:
            raise self._cut_or_bad(error) from error
        except RecursionError as error:
            raise ProtocolError("a value is nested too deeply") from error

    def _cut_or_bad(self, error: json.JSONDecodeError) -> Exception:
        """Tell a text that merely ends too early from one that can never become JSON."""
        if error.msg.startswith("Unterminated string") or error.pos >= len(self._text) - _LONGEST_TOKEN:
            return _Incomplete()
        return ProtocolError(f"not JSON: {error}")
