"""How verbs talk: data to stdout as table, JSON or YAML; everything else to stderr; errors as one clear block.

With `-o json` or `-o yaml`, stdout always holds exactly one document, an error included (`{"error": ...}`), so that a
script never has to look in two places. This module must never import yaml or rich at its top: it is on the path
of `ovenbird --help`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from ovenbird.model.errors import Bug, OvenbirdError

FORMATS = ("table", "json", "yaml")
_META = "ovenbird.output"
_chosen = "table"
"""What -o chose; kept beside click's context, because an error is reported after the context has gone."""

F = TypeVar("F", bound=Callable[..., Any])


def _remember(ctx: click.Context, _param: click.Parameter, value: str) -> str:
    """Note the chosen format where the reporting of errors finds it."""
    global _chosen  # noqa: PLW0603 - one process runs one command
    _chosen = value
    return value


def output_option(function: F) -> F:
    """Give a verb the option `-o table|json|yaml`, passed as `output`."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(FORMATS),
        default="table",
        show_default=True,
        is_eager=True,
        callback=_remember,
        help="Form of the answer on stdout.",
    )(function)


def emit(data: Any, output: str, render: Callable[[], str]) -> None:
    """Print data on stdout: as JSON, as YAML, or as what `render` returns for people."""
    text = render() if output == "table" else dumped(data, output)
    if text:
        click.echo(text.rstrip("\n"))


def dumped(data: Any, output: str) -> str:
    """Return data as a JSON or YAML document."""
    if output == "json":
        return json.dumps(data, indent=2, ensure_ascii=False)
    import yaml

    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, default_flow_style=False)


def say(text: str) -> None:
    """Tell a person something beside the data (stderr)."""
    click.echo(text, err=True)


def table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return columns aligned with two spaces between them; empty cells are shown as `-`."""
    cells = [[str(header).upper() for header in headers]]
    cells += [["-" if value in (None, "") else str(value) for value in row] for row in rows]
    widths = [max(len(click.unstyle(row[column])) for row in cells) for column in range(len(headers))]
    return "\n".join(
        "  ".join(
            cell + " " * (width - len(click.unstyle(cell))) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in cells
    )


def outline(data: Any, indent: int = 0) -> str:
    """Return nested data as indented `key: value` lines, for people."""
    pad = "  " * indent
    lines = []
    pairs = data.items() if isinstance(data, Mapping) else (("-", item) for item in data)
    for key, value in pairs:
        label = f"{pad}-" if key == "-" else f"{pad}{key}:"
        if isinstance(value, Mapping | list | tuple) and value:
            lines += [label, outline(value, indent + 1)]
        else:
            lines.append(f"{label} {scalar(value)}")
    return "\n".join(lines)


def scalar(value: Any) -> str:
    """Return one value as YAML's readers would write it; nothing is `-`."""
    if value is None or value == "" or value in ([], {}, ()):
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={scalar(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(scalar(item) for item in value)
    return str(value)


def report_error(error: OvenbirdError) -> None:
    """Tell an error: one JSON or YAML document on stdout if data was asked for so, else a block on stderr."""
    if _chosen in ("json", "yaml"):
        click.echo(dumped({"error": error.to_json()}, _chosen).rstrip("\n"))
    else:
        say(rendered(error))


def rendered(error: OvenbirdError) -> str:
    """Return the block that people read: what happened, each problem on a line of its own, evidence, next step."""
    subject = f"{error.subject}: " if error.subject and error.subject not in error.message else ""
    lines = [f"{click.style('error:', fg='red', bold=True)} {subject}{error.message}"]
    lines += [problem.render() for problem in error.problems]
    if error.evidence:
        lines.append(f"seen: {error.evidence}")
    if error.hint:
        lines.append(f"hint: {error.hint}")
    return "\n".join(lines)


def report_bug(error: Exception) -> int:
    """Tell a failure that is ours, with its traceback on stderr, and return its exit status."""
    import traceback

    traceback.print_exception(error, file=sys.stderr)
    report_error(
        Bug(f"{type(error).__name__}: {error}", hint="this is a bug of Ovenbird; please report it with the lines above")
    )
    return Bug.exit_status
