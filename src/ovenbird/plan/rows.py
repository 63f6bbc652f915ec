"""The language between compile, diff and the executor: rows that should exist in NB, and the steps to get there.

Every row that Ovenbird makes has a UUID that follows from its identity (`row_uuid`), so that references need no
look-up, a transaction that is sent twice is harmless, and who owns a row can be told without asking.
Values are plain Python: str, int, bool, float; a UUID is a str; a set is a frozenset; a map is a dict; an optional
value is the value or None. The executor encodes them by the server's own schema.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ovenbird.model.objects import Key

Columns = Mapping[str, Any]

OWNER = "ovenbird-owner"
"""external_ids key on every row of ours: "Kind/name" of the declared object that the row exists for."""
NAMESPACE = uuid.UUID("6f76656e-6269-7264-8000-4e4220726f77")


def row_uuid(table: str, identity: str) -> str:
    """Return the UUID of our row of that identity; the same on every node and every time."""
    return str(uuid.uuid5(NAMESPACE, f"{table}:{identity}"))


@dataclass(frozen=True, slots=True)
class Parent:
    """The row and column whose set holds a non-root row."""

    table: str
    uuid: str
    column: str


@dataclass(frozen=True, slots=True)
class NbRow:
    """A NB row that should exist. `columns` are the only columns that we own in it."""

    table: str
    uuid: str
    columns: Columns
    owner: Key
    parent: Parent | None = None
    """None for root tables."""


@dataclass(frozen=True, slots=True)
class Insert:
    """Insert a row with its own UUID; `columns` already holds its children's sets where they are new as well."""

    table: str
    uuid: str
    columns: Columns
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Update:
    """Set columns of a row."""

    table: str
    uuid: str
    columns: Columns
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Mutate:
    """Add and remove members of one set column of a row; foreign members are not touched."""

    table: str
    uuid: str
    column: str
    insert: frozenset[str] = frozenset()
    delete: frozenset[str] = frozenset()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a root row of ours."""

    table: str
    uuid: str
    reason: str = ""


Step = Insert | Update | Mutate | Delete


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps of one transaction, in order. An empty plan is success."""

    steps: tuple[Step, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A host that may carry routers' external legs."""

    name: str
    physnets: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Which gateways carry which router, most wanted first, with OVN priorities (greater wins)."""

    routers: Mapping[str, tuple[tuple[str, int], ...]] = field(default_factory=dict)
    """router -> ((gateway, priority), ...)"""
