"""Diff: the steps of one transaction that turn the rows that are into the rows that should be, and nothing else.

What it must never do: touch a row that is not ours (`ActualRow.owner`, and not a UUID that we want), remove a
foreign member of a set, or plan a step that would make the server refuse the whole transaction. Where it would have
to, it leaves that one difference alone, says so in a `Conflict`, and goes on with the rest.

A row that is not in a root table lives only as long as a parent's set holds it: it is made with its parent's set and
removed from it; the server collects it (RFC 7047 section 3.2, isRoot). Load balancers live in a group's set, but stay
without it (STANDING): they are deleted. Their groups are members of sets that others may use too (MEMBER_SETS).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ovenbird.model.objects import KINDS, Key
from ovenbird.plan.compile import compile_object
from ovenbird.plan.compile_context import CompileContext
from ovenbird.plan.inventory import InventoryView
from ovenbird.plan.nb_view import (
    CHILD_SETS,
    MEMBER_SETS,
    NAME_SPACES,
    REFERENCES,
    STANDING,
    STRONG,
    TABLES,
    ActualRow,
    Holder,
    NbView,
)
from ovenbird.plan.rows import (
    Conflict,
    ConflictKind,
    Delete,
    Insert,
    Mutate,
    NbRow,
    Plan,
    Step,
    Update,
)

_TABLE_ORDER = {table: at for at, table in enumerate(TABLES)}
_IDS = "external_ids"


def diff(owners: Iterable[Key], desired: Mapping[Key, Sequence[NbRow]], actual: NbView) -> Plan:
    """Return the plan for these owners' rows; other owners' rows stay as they are.

    An owner without desired rows loses all its rows. The same arguments give the same plan, step by step.
    """
    keys = sorted(set(owners))
    return _Differ([row for key in keys for row in desired.get(key, ())], keys, actual).plan()


def audit(inventory: InventoryView, context: CompileContext, actual: NbView) -> Plan:
    """Compare everything in both directions: rows missing or wrong, and rows of ours whose object is gone.

    The work is that of the whole network: not for every change.
    """
    declared = {Key(kind, name) for kind in KINDS for name in inventory.of_kind(kind)}
    desired = {key: compile_object(key, inventory, context) for key in declared}
    return diff(declared.union(actual.owners()), desired, actual)


class _Differ:
    """One run of `diff`: collects inserts, updates, mutations and deletes, then puts them in order."""

    def __init__(self, wanted: list[NbRow], keys: Sequence[Key], actual: NbView) -> None:
        self._actual = actual
        self._keys = keys
        self._wanted = {row.uuid: row for row in wanted}
        self._conflicts: list[Conflict] = []
        self._inserts: dict[str, NbRow] = {}
        self._folded: dict[str, dict[str, list[str]]] = {}
        self._updates: list[Step] = []
        self._mutations: dict[Holder, tuple[set[str], set[str]]] = {}
        self._names: dict[tuple[str, str], NbRow] = {}
        self._leaving: dict[str, ActualRow] = {}

    def plan(self) -> Plan:
        self._find_leaving()
        for row in sorted(self._wanted.values(), key=lambda row: _TABLE_ORDER[row.table]):
            self._want(row)
        deletes = [self._remove(row) for row in self._leaving.values()]
        return Plan(
            (*self._insert_steps(), *self._updates, *self._mutate_steps(), *(step for step in deletes if step)),
            tuple(self._conflicts),
        )

    # Rows that should go.

    def _find_leaving(self) -> None:
        marked = (row for key in self._keys for row in self._actual.rows_of(key) if row.uuid not in self._wanted)
        # Children first: whether a root row may go depends on which rows that refer to it go.
        leaving = sorted(marked, key=lambda row: (row.table in CHILD_SETS, _TABLE_ORDER[row.table], row.uuid))
        for row in leaving:
            if self._may_leave(row):
                self._leaving[row.uuid] = row

    def _may_leave(self, row: ActualRow) -> bool:
        if row.table in STANDING:
            return True
        if row.table not in CHILD_SETS:
            foreign = [holder for holder in self._actual.holders(row.uuid) if not self._ours(holder)]
            if foreign:
                self._conflict(ConflictKind.FOREIGN_HOLDER, row, f"is held by {_listed(foreign)}, not ours")
            return not foreign
        children = [child for child in self._children(row) if child.owner is None and child.uuid not in self._wanted]
        if children:
            self._conflict(ConflictKind.FOREIGN_CHILDREN, row, f"should go but holds {_listed(children)}, not ours")
            return False
        users = [user for user in self._actual.referrers(row.uuid) if self._stays(user, row)]
        if users:
            self._conflict(ConflictKind.FOREIGN_HOLDER, row, f"should go but is used by {_listed(users)}")
        return not users

    def _stays(self, user: Holder, row: ActualRow) -> bool:
        """Whether a row will go on holding another after this plan."""
        if user.column in MEMBER_SETS.get(user.table, ()):
            return not self._ours(user)
        if user.column not in STRONG:
            return False
        wanted = self._wanted.get(user.uuid)
        return wanted.columns.get(user.column) == row.uuid if wanted else user.uuid not in self._leaving

    def _children(self, row: ActualRow) -> Iterator[ActualRow]:
        for column, table in CHILD_SETS[row.table].items():
            for uuid in sorted(row.columns.get(column, ())):
                if child := self._actual.row(table, uuid):
                    yield child

    def _remove(self, row: ActualRow) -> Delete | None:
        for user in self._actual.referrers(row.uuid):
            if user.column in MEMBER_SETS.get(user.table, ()) and user.uuid not in self._leaving:
                self._mutation(user)[1].add(row.uuid)
        if row.table in CHILD_SETS or row.table in STANDING:
            return Delete(row.table, row.uuid, f"{row.owner} no longer needs it")
        for holder in self._actual.holders(row.uuid):
            if holder.uuid not in self._leaving:
                self._mutation(holder)[1].add(row.uuid)
        # The server counts references before it collects rows: those of a row that will be collected still count.
        held = [column for column in REFERENCES.get(row.table, ()) if row.columns.get(column) in self._leaving]
        if dropped := {column: None for column in held if column in STRONG}:
            self._updates.append(Update(row.table, row.uuid, dropped, f"{row.owner} no longer needs it"))
        return None

    # Rows that should be.

    def _want(self, row: NbRow) -> None:
        current = self._actual.row(row.table, row.uuid)
        if not self._name_is_free(row, current) or not self._references_exist(row):
            return
        if row.parent and not self._exists(row.parent.table, row.parent.uuid):
            self._conflict(ConflictKind.MISSING_ROW, row, f"needs {row.parent.table} {row.parent.uuid}, not there")
            return
        if current is None:
            self._inserts[row.uuid] = row
        elif changed := _changed(row.columns, current.columns):
            reason = f"{row.owner}: {', '.join(changed)}"
            self._updates.append(Update(row.table, row.uuid, changed, reason))
        if row.parent:
            self._hang(row, Holder(row.parent.table, row.parent.uuid, row.parent.column))
        for column, members in row.members.items():
            self._join(row, column, members)

    def _join(self, row: NbRow, column: str, members: frozenset[str]) -> None:
        """See to it that a shared set holds these members, and no others that are ours."""
        table = MEMBER_SETS[row.table][column]
        for missing in sorted(uuid for uuid in members if not self._exists(table, uuid)):
            self._conflict(ConflictKind.MISSING_ROW, row, f"needs {table} {missing} for {column}, not there")
        there = {uuid for uuid in members if self._exists(table, uuid)}
        current = self._actual.row(row.table, row.uuid)
        if current is None:
            if there:
                self._folded.setdefault(row.uuid, {})[column] = sorted(there)
            return
        have: frozenset[str] = current.columns.get(column, frozenset())
        others = (self._actual.row(table, uuid) for uuid in have - members)
        surplus = {other.uuid for other in others if other and other.owner}
        if there - have or surplus:
            come, gone = self._mutation(Holder(row.table, row.uuid, column))
            come |= there - have
            gone |= surplus

    def _name_is_free(self, row: NbRow, current: ActualRow | None) -> bool:
        space = NAME_SPACES.get(row.table)
        if space is None:
            return True
        name = row.columns["name"]
        rival: NbRow | ActualRow | None = self._names.setdefault((space, name), row)
        if rival is row:
            if current and current.columns.get("name") == name:
                return True
            others = self._actual.named(row.table, name)
            rival = next((other for other in others if other.uuid != row.uuid and self._keeps_name(other)), None)
        if rival is None:
            return True
        self._conflict(ConflictKind.NAME_TAKEN, row, f"cannot be called {name!r}: {_listed([rival])} has that name")
        return False

    def _keeps_name(self, other: ActualRow) -> bool:
        wanted = self._wanted.get(other.uuid)
        return other.uuid not in self._leaving and (wanted is None or wanted.columns["name"] == other.columns["name"])

    def _references_exist(self, row: NbRow) -> bool:
        for column, table in REFERENCES.get(row.table, {}).items():
            target = row.columns.get(column)
            if target and not self._exists(table, target):
                self._conflict(ConflictKind.MISSING_ROW, row, f"needs {table} {target} for {column}, not there")
                return False
        return True

    def _exists(self, table: str, uuid: str) -> bool:
        """Whether a row will be there after this plan."""
        if uuid in self._inserts:
            return True
        return uuid not in self._leaving and self._actual.row(table, uuid) is not None

    def _hang(self, row: NbRow, place: Holder) -> None:
        """See to it that the parent's set holds the row, and no other set of ours does."""
        holders = [] if row.uuid in self._inserts else list(self._actual.holders(row.uuid))
        if place.uuid in self._inserts:
            self._folded.setdefault(place.uuid, {}).setdefault(place.column, []).append(row.uuid)
        elif place not in holders:
            self._mutation(place)[0].add(row.uuid)
        for holder in holders:
            if holder == place or holder.uuid in self._leaving:
                continue
            if self._ours(holder):
                self._mutation(holder)[1].add(row.uuid)
            else:
                self._conflict(ConflictKind.FOREIGN_HOLDER, row, f"is also held by {_listed([holder])}, not ours")

    def _ours(self, holder: Holder) -> bool:
        if holder.uuid in self._wanted:
            return True
        row = self._actual.row(holder.table, holder.uuid)
        return row is not None and row.owner is not None

    # Steps.

    def _mutation(self, holder: Holder) -> tuple[set[str], set[str]]:
        return self._mutations.setdefault(holder, (set(), set()))

    def _insert_steps(self) -> Iterator[Insert]:
        for uuid, row in self._inserts.items():
            columns = row.columns
            if folded := self._folded.get(uuid):
                columns = {**columns, **{column: frozenset(members) for column, members in folded.items()}}
            yield Insert(row.table, uuid, columns, f"{row.owner} needs it")

    def _mutate_steps(self) -> Iterator[Mutate]:
        for holder in sorted(self._mutations, key=lambda holder: (_TABLE_ORDER[holder.table], *holder)):
            come, gone = self._mutations[holder]
            yield Mutate(
                holder.table,
                holder.uuid,
                holder.column,
                frozenset(come),
                frozenset(gone),
                f"{len(come)} to hold, {len(gone)} to let go",
            )

    def _conflict(self, kind: ConflictKind, row: NbRow | ActualRow, detail: str) -> None:
        owner = row.owner or Key("", "")
        name = row.columns.get("name", row.uuid)
        self._conflicts.append(Conflict(kind, owner, row.table, row.uuid, f"{row.table} {name} {detail}"))


def _changed(desired: Mapping[str, Any], current: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns to write. Other people's keys in external_ids stay; any other column is all ours."""
    changed = {}
    for column, value in desired.items():
        have = current.get(column)
        if have == value or (not have and not value):
            continue
        if column == _IDS and have:
            value = {**have, **value}  # noqa: PLW2901 (the merged map is what is compared and written)
            if have == value:
                continue
        changed[column] = value
    return changed


def _listed(rows: Sequence[NbRow | ActualRow | Holder]) -> str:
    """Return rows as people look them up, at most three of them."""
    texts = [f"{row.table} {_label(row)}" for row in rows[:3]]
    return ", ".join(texts) + (f" and {len(rows) - 3} more" if len(rows) > 3 else "")


def _label(row: NbRow | ActualRow | Holder) -> str:
    return row.uuid if isinstance(row, Holder) else f"{row.uuid} (of {row.owner})" if row.owner else row.uuid
