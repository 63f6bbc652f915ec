"""YAML text to plain values that still know their lines.

Values are built from libyaml's events, not from its node composer: the composer recurses in C without a limit, and
a few kilobytes of brackets end the process that calls it. Only what a declaration needs is understood: mappings,
sequences and scalars of YAML 1.2's core schema (so `no`, `on` and 10:20:30 are text). Anchors, aliases, tags and
repeated keys are problems. It must never construct anything but dict, tuple, str, int, float, bool and None.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
)

from ovenbird.model.errors import Problem, UserError

MAX_CHARACTERS = 32 * 1024 * 1024
MAX_DEPTH = 16

Path = tuple[str | int, ...]

_CONSTANTS: dict[str, Any] = {
    text: value
    for word, value in (("null", None), ("true", True), ("false", False))
    for text in (word, word.title(), word.upper())
} | {"": None, "~": None}
NUMBER = re.compile(r"[-+]?(?:[0-9]{1,18}|(?:[0-9]{1,18}\.[0-9]{0,18}|\.[0-9]{1,18})(?:[eE][-+]?[0-9]{1,3})?)\Z")
"""Plain text that is read as a number (YAML 1.2, core schema: 08 is one)."""
_NUMBER_STARTS = frozenset("0123456789+-.")


@dataclass(slots=True)
class Located:
    """One YAML document: its value, and the 1-based line of every field in it."""

    line: int
    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    """Path of keys and positions -> line. A field's line is its key's."""

    def line_of(self, path: Path) -> int:
        """Return the line of a field, or of the nearest thing around it that is there."""
        while path:
            if found := self.lines.get(path):
                return found
            path = path[:-1]
        return self.line


class _TooDeep(Exception):
    """Nested deeper than any declaration is."""


def load(text: str, file: str) -> tuple[list[Located], list[Problem]]:
    """Return every document that is not empty, and the problems of their form (repeated keys, anchors, tags).

    Raises UserError with one problem when the text is not YAML at all, too long or too deep.
    """
    if len(text) > MAX_CHARACTERS:
        raise _malformed(file, 0, f"the text is longer than {MAX_CHARACTERS} characters", "split it")
    try:
        builder = _Builder(yaml.CSafeLoader(text).get_event, file)
        return list(builder.documents()), builder.problems
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        what = ", ".join(part for part in (error.context, error.problem) if part)
        raise _malformed(file, line, f"not YAML: {what} at column {column}", _hint(text, line)) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _malformed(file, line, "not YAML: a control character is not allowed here", "remove it") from error
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        raise _malformed(file, line, "not YAML: half a surrogate pair is not a character", "remove it") from error
    except _TooDeep as error:
        raise _malformed(file, int(str(error)), f"nested deeper than {MAX_DEPTH} levels", "") from error


def _malformed(file: str, line: int, message: str, hint: str) -> UserError:
    problem = Problem(message=message, file=file, line=line, hint=hint)
    return UserError(f"{file or 'the input'} cannot be read", subject=file, problems=[problem])


def _hint(text: str, line: int) -> str:
    lines = text.splitlines()
    shown = lines[line - 1] if 0 < line <= len(lines) else ""
    return "YAML indents with spaces, not tabs" if "\t" in shown else "look at this line and the one before it"


class _Builder:
    """Builds values from events, one document at a time."""

    def __init__(self, next_event: Callable[[], Any], file: str) -> None:
        self._next = next_event
        self._file = file
        self._lines: dict[Path, int] = {}
        self.problems: list[Problem] = []

    def documents(self) -> Iterator[Located]:
        """Yield the documents that are not empty."""
        while (event := self._next()).__class__ is not StreamEndEvent:
            if event.__class__ is not DocumentStartEvent:
                continue
            first = self._next()
            located = Located(line=first.start_mark.line + 1)
            self._lines = located.lines
            located.value = self._value(first, ())
            while self._next().__class__ is not DocumentEndEvent:
                pass
            if located.value is not None:
                yield located

    def _value(self, event: Any, path: Path) -> Any:
        if event.__class__ is AliasEvent:
            self._problem(event, f"aliases (*{event.anchor}) are not supported", "write the value out")
            return None
        if event.anchor is not None:
            self._problem(event, f"anchors (&{event.anchor}) are not supported", "write the value out where it is used")
        if event.tag is not None:
            self._problem(event, f"tags ({event.tag}) are not supported", "remove the tag")
        if event.__class__ is ScalarEvent:
            return _scalar(event.value) if event.implicit[0] else event.value
        if len(path) >= MAX_DEPTH:
            raise _TooDeep(event.start_mark.line + 1)
        return self._mapping(path) if event.__class__ is MappingStartEvent else self._sequence(path)

    def _mapping(self, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while (event := self._next()).__class__ is not MappingEndEvent:
            line = event.start_mark.line + 1
            if event.__class__ is not ScalarEvent:
                self._problem(event, "a field's name must be text", "")
                self._value(event, (*path, ""))
                self._value(self._next(), (*path, ""))
                continue
            key = event.value
            at = (*path, key)
            if key in found:
                self._problem(event, f"{key!r} is given twice; first on line {self._lines[at]}", "keep one of them")
            else:
                self._lines[at] = line
            value = self._next()
            if value.__class__ is ScalarEvent and value.anchor is None and value.tag is None:
                found[key] = _scalar(value.value) if value.implicit[0] else value.value  # nearly all values are scalars
            else:
                found[key] = self._value(value, at)
        return found

    def _sequence(self, path: Path) -> tuple[Any, ...]:
        found: list[Any] = []
        while (event := self._next()).__class__ is not SequenceEndEvent:
            at = (*path, len(found))
            self._lines[at] = event.start_mark.line + 1
            found.append(self._value(event, at))
        return tuple(found)

    def _problem(self, event: Any, message: str, hint: str) -> None:
        line = event.start_mark.line + 1
        self.problems.append(Problem(message=message, file=self._file, line=line, hint=hint))


def _scalar(text: str) -> Any:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[0] in _NUMBER_STARTS and NUMBER.match(text):
        return float(text) if "." in text or "e" in text or "E" in text else int(text)
    return text
