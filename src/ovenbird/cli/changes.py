"""How a set of changes to declared objects is shown, by plan, apply and delete."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import click

from ovenbird.cli.output import say, scalar
from ovenbird.model.errors import Problem

SIGNS = {"create": ("+", "green"), "update": ("~", "yellow"), "delete": ("-", "red")}
PAST = {"create": "created", "update": "updated", "delete": "deleted", "unchanged": "unchanged"}
ORDER = ("create", "update", "delete", "unchanged")


def subject(change: Mapping[str, Any]) -> str:
    """Return `Kind/name`."""
    return f"{change['kind']}/{change['name']}"


def real(changes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the changes that change something."""
    return [change for change in changes if change["action"] in SIGNS]


def as_diff(changes: Sequence[Mapping[str, Any]]) -> str:
    """Return every change with its fields, old -> new."""
    lines = []
    for change in real(changes):
        sign, colour = SIGNS[change["action"]]
        lines.append(click.style(f"{sign} {subject(change)}", fg=colour))
        fields = change.get("fields", {})
        for field, values in fields.items():
            assigned = field.removeprefix("assigned.")
            # An assigned value that was asked for is no news.
            if assigned == field or values[1] not in (fields.get(assigned) or fields.get(f"external.{assigned}") or ()):
                note = "" if assigned == field else " (assigned)"
                lines.append(f"    {assigned}: {_edge(change['action'], *values)}{note}")
    return "\n".join(lines)


def _edge(action: str, old: Any, new: Any) -> str:
    if action == "create":
        return scalar(new)
    if action == "delete":
        return scalar(old)
    return f"{scalar(old)} -> {scalar(new)}"


def as_lines(changes: Sequence[Mapping[str, Any]], *, dry_run: bool) -> str:
    """Return one line per changed object."""
    note = " (dry run)" if dry_run else ""
    return "\n".join(f"{subject(change)} {PAST[change['action']]}{note}" for change in real(changes))


def summary(changes: Sequence[Mapping[str, Any]], *, planned: bool) -> str:
    """Return counts, e.g. `2 created, 5 unchanged` or `2 to create, 5 unchanged`."""
    counts = Counter(change["action"] for change in changes)
    words = [
        f"{counts[action]} {f'to {action}' if planned and action in SIGNS else PAST[action]}"
        for action in ORDER
        if counts[action]
    ]
    return ", ".join(words) or "nothing declared"


def warn(answer: Mapping[str, Any]) -> None:
    """Tell the warnings of an answer: accepted, but probably not what was meant."""
    for warning in answer.get("warnings", ()):
        say(f"{click.style('warning:', fg='yellow')} {Problem(**warning).render()}")
