"""Text that people write to documents: multi-document YAML (or JSON) of declared objects, with all problems at once.

A good document takes the short way: one pass over the YAML, one validation. A bad one is explained: every problem of
the file, each with its line, in one UserError. Rules between objects are not here: see `ovenbird.plan.admission`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from ovenbird.model.errors import Problem, UserError
from ovenbird.model.explain import did_you_mean, explain, name_hint
from ovenbird.model.located_yaml import Located, Path, load
from ovenbird.model.objects import KINDS, NAME_PATTERN, Key, Router, Spec

_NAME = re.compile(NAME_PATTERN)
_FIELDS = frozenset({"kind", "name", "spec"})


@dataclass(frozen=True, slots=True)
class Document:
    """One object that somebody asks for, and where they wrote it."""

    kind: str
    name: str
    spec: Spec
    file: str = ""
    line: int = 0
    """1-based line of the document's first field; 0 when it was not read from text."""
    located: Located | None = field(default=None, repr=False, compare=False)

    @property
    def key(self) -> Key:
        """Identity of the object asked for."""
        return Key(self.kind, self.name)

    def problem(self, message: str, *path: str | int, hint: str = "") -> Problem:
        """Return a problem of this document at a field of its spec, e.g. `"external", "address"`."""
        line = self.located.line_of(("spec", *path)) if self.located else self.line
        return Problem(message=message, file=self.file, line=line, kind=self.kind, name=self.name, hint=hint)


def parse_documents(text: str, file: str = "") -> tuple[Document, ...]:
    """Return the documents of a text; those that are empty or only comments are skipped.

    `file` is only for messages. Raises UserError (`bad_input`) that carries every problem of the text.
    """
    located, problems = load(text, file)
    documents: list[Document] = []
    first_lines: dict[Key, int] = {}
    for each in located:
        reader = _Reader(each, file)
        if document := reader.document():
            documents.append(document)
        problems += reader.problems
        if (key := reader.key) and (first := first_lines.setdefault(key, each.line)) != each.line:
            problems.append(reader.problem(f"declared twice; first on line {first}", ("name",), "keep one of them"))
    if problems:
        raise bad_input(file, problems)
    return tuple(documents)


def bad_input(file: str, problems: Sequence[Problem]) -> UserError:
    """Return the error of a file with its problems in the order of their lines."""
    ordered = sorted(problems, key=lambda problem: (problem.file, problem.line))
    count = "1 problem" if len(ordered) == 1 else f"{len(ordered)} problems"
    hint = "nothing was changed; correct the file and apply it again"
    return UserError(f"{count} in {file or 'the input'}", subject=file, hint=hint, problems=ordered)


def _name_legs(lines: dict[Path, int]) -> None:
    """Give each field of a router's list of external networks the path too that it has as the main or a further leg."""
    for path, line in [*lines.items()]:
        match path:
            case ("spec", "external", 0, *field):
                lines.setdefault(("spec", "external", *field), line)
            case ("spec", "external", int() as at, *field):
                lines.setdefault(("spec", "further", at - 1, *field), line)


class _Reader:
    """Reads one YAML document."""

    def __init__(self, located: Located, file: str) -> None:
        self._located = located
        self._file = file
        self.key: Key | None = None
        self.problems: list[Problem] = []

    def document(self) -> Document | None:
        """Return the document, or None with `problems` saying why not."""
        value = self._located.value
        if not isinstance(value, dict):
            self._report("a document must be a mapping with the fields kind, name and spec", ())
            return None
        kind, name = value.get("kind"), value.get("name")
        model = KINDS.get(kind) if isinstance(kind, str) else None
        if model is None:
            self._explain_kind(kind, value)
        if not isinstance(name, str) or not _NAME.match(name):
            self._explain_name(name)
        elif model:
            self.key = Key(model.__name__, name)
        if not _FIELDS.issuperset(value):
            self._explain_fields(value)
        if model is Router:
            _name_legs(self._located.lines)
        spec = self._spec(model, value.get("spec")) if model else None
        if not spec or not self.key or self.problems:
            return None
        return Document(self.key.kind, self.key.name, spec, self._file, self._located.line, self._located)

    def _spec(self, model: type[Spec], value: Any) -> Spec | None:
        try:
            # An absent spec is an empty one, so that what is missing in it is said by name.
            return model.model_validate({} if value is None else value, strict=True)
        except ValidationError as error:
            for path, message, hint in explain(error, model):
                said = message if path or isinstance(value, dict) else "'spec' must be a mapping of fields"
                self._report(said, ("spec", *path), hint)
            return None

    def _explain_kind(self, kind: Any, value: dict[str, Any]) -> None:
        if kind is None:
            self._report("'kind' is missing", ("kind",), f"known: {', '.join(KINDS)}")
        elif isinstance(kind, str):
            self._report(f"unknown kind {kind!r}", ("kind",), did_you_mean(kind, KINDS))
        else:
            self._report("'kind' must be text", ("kind",), f"known: {', '.join(KINDS)}")

    def _explain_name(self, name: Any) -> None:
        if name is None:
            self._report("'name' is missing", ("name",), "every object has a name, unique in its kind")
        elif isinstance(name, str):
            self._report(f"{name!r} is not a valid name", ("name",), name_hint(name))
        else:
            quoted = "true" if name is True else "false" if name is False else name
            hint = f'put it in quotes: "{quoted}"' if isinstance(name, bool | int | float) else ""
            self._report("'name' must be text", ("name",), hint)

    def _explain_fields(self, value: dict[str, Any]) -> None:
        for each in value.keys() - _FIELDS:
            if each == "metadata":
                hint = "write the name at the top: 'name: ...'"
            elif each in KINDS.get(str(value.get("kind")), Spec).model_fields:
                hint = f"move {each!r} into 'spec', indented"
            else:
                hint = did_you_mean(each, _FIELDS)
            self._report(f"unknown field {each!r}", (each,), hint)

    def problem(self, message: str, path: Path, hint: str = "") -> Problem:
        """Return a problem at a path of the whole document."""
        value = self._located.value
        kind, name = (value.get("kind"), value.get("name")) if isinstance(value, dict) else (None, None)
        known = isinstance(kind, str) and isinstance(name, str)
        return Problem(
            message=message,
            file=self._file,
            line=self._located.line_of(path),
            kind=str(kind) if known else "",
            name=str(name) if known else "",
            hint=hint,
        )

    def _report(self, message: str, path: Path, hint: str = "") -> None:
        self.problems.append(self.problem(message, path, hint))
