"""An NbView kept by deltas: whoever watches NB feeds it each row's change, and `diff` asks it.

It keeps references to the columns that it is given and never copies or changes them.
It must never be asked in the middle of a transaction's changes: apply all of them first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from ovenbird.model.objects import Key
from ovenbird.plan.nb_view import CHILD_SETS, MEMBER_SETS, NAME_SPACES, REFERENCES, TABLES, ActualRow, Holder
from ovenbird.plan.rows import Columns

K = TypeVar("K")
V = TypeVar("V")

_NONE: frozenset[str] = frozenset()


class NbIndex:
    """The rows of our tables in NB, ours and foreign, by everything that `NbView` may be asked."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, ActualRow]] = {table: {} for table in TABLES}
        self._owned: dict[Key, dict[str, ActualRow]] = {}
        self._holders: dict[str, tuple[Holder, ...]] = {}
        self._referrers: dict[str, set[Holder]] = {}
        self._names: dict[tuple[str, str], tuple[ActualRow, ...]] = {}
        self.version = 0
        """Grows by one with each row that is taken."""

    def apply(self, table: str, uuid: str, new: Columns | None) -> frozenset[Key]:
        """Take one row as it is after a change, None when it is gone. Returns the owners to look at.

        The owners are those whose rows may now differ from what compile wants: the row's own owner before and after,
        and the owners of rows that left or entered its set.
        """
        rows = self._rows.get(table)
        if rows is None:
            return frozenset()
        self.version += 1
        before = rows.pop(uuid, None)
        after = ActualRow(table, uuid, new) if new is not None else None
        touched = {row.owner for row in (before, after) if row}
        if before:
            self._forget(before)
        if after:
            rows[uuid] = after
            self._remember(after)
        for column, child_table in CHILD_SETS.get(table, {}).items():
            was, now = _members(before, column), _members(after, column)
            children = (self._rows[child_table].get(child) for child in was ^ now)
            self._rehang(Holder(table, uuid, column), was - now, now - was)
            touched.update(child.owner for child in children if child)
        return frozenset(owner for owner in touched if owner)

    def _remember(self, row: ActualRow) -> None:
        if owner := row.owner:
            self._owned.setdefault(owner, {})[row.uuid] = row
        if space := NAME_SPACES.get(row.table):
            name = (space, row.columns.get("name", ""))
            self._names[name] = (*self._names.get(name, ()), row)
        for target, column in _targets(row):
            self._referrers.setdefault(target, set()).add(Holder(row.table, row.uuid, column))

    def _forget(self, row: ActualRow) -> None:
        if (owner := row.owner) and (owned := self._owned.get(owner)):
            owned.pop(row.uuid, None)
            if not owned:
                del self._owned[owner]
        if space := NAME_SPACES.get(row.table):
            _drop(self._names, (space, row.columns.get("name", "")), row)
        for target, column in _targets(row):
            if referrers := self._referrers.get(target):
                referrers.discard(Holder(row.table, row.uuid, column))
                if not referrers:
                    del self._referrers[target]

    def _rehang(self, holder: Holder, gone: Iterable[str], come: Iterable[str]) -> None:
        for child in gone:
            _drop(self._holders, child, holder)
        for child in come:
            self._holders[child] = (*self._holders.get(child, ()), holder)

    def row(self, table: str, uuid: str) -> ActualRow | None:
        """Return the row, or None."""
        return self._rows[table].get(uuid)

    def rows(self, table: str) -> Mapping[str, ActualRow]:
        """Return all rows of a table by UUID."""
        return self._rows[table]

    def rows_of(self, owner: Key) -> Iterable[ActualRow]:
        """Return the rows marked as an object's."""
        return self._owned.get(owner, {}).values()

    def owners(self) -> Iterable[Key]:
        """Return every object that some row is marked for."""
        return self._owned.keys()

    def holders(self, uuid: str) -> Iterable[Holder]:
        """Return the rows whose child set holds this row."""
        return self._holders.get(uuid, ())

    def referrers(self, uuid: str) -> Iterable[Holder]:
        """Return the rows that refer to this row."""
        return self._referrers.get(uuid, ())

    def named(self, table: str, name: str) -> Iterable[ActualRow]:
        """Return the rows that have a name in the table's name space."""
        return self._names.get((NAME_SPACES[table], name), ())


def _targets(row: ActualRow) -> Iterator[tuple[str, str]]:
    """Yield the rows that a row refers to, and by which column."""
    for column in REFERENCES.get(row.table, ()):
        if target := row.columns.get(column):
            yield target, column
    for column in MEMBER_SETS.get(row.table, ()):
        for target in _members(row, column):
            yield target, column


def _members(row: ActualRow | None, column: str) -> frozenset[str]:
    if row is None:
        return _NONE
    members: frozenset[str] = row.columns.get(column, _NONE)
    return members


def _drop(index: dict[K, tuple[V, ...]], key: K, value: V) -> None:
    """Remove one value of a key; nearly every key has exactly one, so tuples cost less than sets."""
    left = tuple(other for other in index.get(key, ()) if other is not value and other != value)
    if left:
        index[key] = left
    else:
        index.pop(key, None)
