"""Reading the files of `-f`: paths, directories and stdin, as the API takes them. This module must never parse them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from ovenbird.model.errors import Problem, UserError

SUFFIXES = (".yaml", ".yml", ".json")
F = TypeVar("F", bound=Callable[..., Any])


def files_option(*, required: bool) -> Callable[[F], F]:
    """Give a verb the option `-f FILE|-|DIR`, passed as `files`."""
    return click.option(
        "-f",
        "--file",
        "files",
        multiple=True,
        required=required,
        metavar="FILE|-|DIR",
        help="Declarations: a file, - for stdin, or a directory with *.yaml, *.yml, *.json. Repeatable.",
        type=click.Path(),
    )


def documents(files: Sequence[str]) -> list[dict[str, str]]:
    """Return `[{"file": name, "text": text}]`; raises UserError that lists every file which cannot be read."""
    found: list[dict[str, str]] = []
    problems: list[Problem] = []
    for file in dict.fromkeys(files):
        try:
            found += [{"file": name, "text": text} for name, text in _read(file)]
        except (OSError, UnicodeDecodeError, UserError) as error:
            reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
            problems.append(Problem(message=f"{file}: {reason}"))
    if problems:
        raise UserError("cannot read the declarations; nothing was changed", code="unreadable", problems=problems)
    return found


def _read(file: str) -> Iterator[tuple[str, str]]:
    if file == "-":
        yield "<stdin>", sys.stdin.buffer.read().decode()
        return
    path = Path(file)
    if not path.is_dir():
        yield file, path.read_text(encoding="utf-8")
        return
    inside = sorted(entry for entry in path.iterdir() if entry.suffix in SUFFIXES and entry.is_file())
    if not inside:
        raise UserError(f"no {', '.join(f'*{suffix}' for suffix in SUFFIXES)} in this directory")
    for entry in inside:
        yield str(entry), entry.read_text(encoding="utf-8")
