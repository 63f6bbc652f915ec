"""Great changes as they are stored at first: many objects in one row, which is final, and laid over the objects' rows.

A row for each object costs the servers most of a great change's time. So it is committed as a few rows of the table
Batch, and unpacked into the objects' own rows afterwards (`ovenbird.controller.unpacking`). What is declared is always
the rows with the batches laid over them, so unpacking changes nothing. Objects' rows are written only where no batch is
left, or by unpacking one; a batch never changes. Nothing here writes or waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import Any, NamedTuple

from ovenbird.controller.records import UnreadableRow, object_row, read_object
from ovenbird.model.objects import Declared, Key
from ovenbird.plan.change import Change
from ovenbird.plan.rows import row_uuid

LEAST_OBJECTS = 500
"""A smaller change is written as rows at once: the leader needs 0.03 s for them."""
PART_OBJECTS = 1000
"""Objects of one row: unpacking them holds the server up for some 0.05 s."""

Stored = Declared | UnreadableRow | None
"""What a row says: an object, one that this version cannot read, or nothing."""
BatchId = tuple[int, int]
"""Revision of the change, and which part of it."""


class Operation(Enum):
    """What a batch does to an object's row."""

    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"


class Entry(NamedTuple):
    """One object of a batch."""

    operation: Operation
    key: Key
    spec: str
    """JSON, as the row holds it; "" when the object is deleted."""
    assigned: str
    stored: Stored

    def says(self, row: Mapping[str, Any], revision: int) -> bool:
        """Whether that row of the table Object is what this one unpacks to."""
        return bool((row["spec"], row["assigned"], row["revision"]) == (self.spec, self.assigned, revision))

    def row(self, revision: int) -> dict[str, Any]:
        """Return that row."""
        return {
            "kind": self.key.kind,
            "name": self.key.name,
            "spec": self.spec,
            "assigned": self.assigned,
            "revision": revision,
        }


class Batch(NamedTuple):
    """One row of the table Batch."""

    id: BatchId
    entries: Sequence[Entry]
    text: str
    """How the row holds them."""

    @property
    def revision(self) -> int:
        """Revision of the declared state that brought it."""
        return self.id[0]

    @property
    def uuid(self) -> str:
        """UUID of its row."""
        return row_uuid("Batch", f"{self.id[0]} {self.id[1]}")

    def columns(self) -> dict[str, Any]:
        """Return its row."""
        return {"revision": self.id[0], "part": self.id[1], "objects": self.text}


def pack(changes: Sequence[Change], revision: int, *, part_objects: int = PART_OBJECTS) -> list[Batch]:
    """Return the batches of one change."""
    parts = (changes[at : at + part_objects] for at in range(0, len(changes), part_objects))
    return [_packed((revision, number), [_entry(change) for change in part]) for number, part in enumerate(parts)]


def _entry(change: Change) -> Entry:
    if change.new is None:
        return Entry(Operation.DELETE, change.key, "", "", None)
    row = object_row(change.new)
    operation = Operation.INSERT if change.old is None else Operation.UPDATE
    return Entry(operation, change.key, row["spec"], row["assigned"], change.new)


def _packed(identity: BatchId, entries: Sequence[Entry]) -> Batch:
    # Neither names nor JSON have a tab or a line's end in them. JSON in JSON would be quoted once more.
    lines = [f"{op.value}\t{key.kind}\t{key.name}\t{spec}\t{assigned}" for op, key, spec, assigned, _ in entries]
    return Batch(identity, entries, "\n".join(lines))


def read_batch(row: Mapping[str, Any]) -> Batch:
    """Return a stored batch; UnreadableRow says in which line something else stands than this version writes."""
    revision, text = row["revision"], row["objects"]
    entries = [_read_entry(number, line, revision) for number, line in enumerate(text.split("\n"), start=1)]
    return Batch(batch_id(row), entries, text)


def batch_id(row: Mapping[str, Any]) -> BatchId:
    """Return the id of the batch in that row."""
    return row["revision"], row["part"]


def _read_entry(number: int, line: str, revision: int) -> Entry:
    try:
        word, kind, name, spec, assigned = line.split("\t")
        operation = Operation(word)
    except ValueError as error:
        raise UnreadableRow(f"line {number}: {error}") from None
    found = Entry(operation, Key(kind, name), spec, assigned, None)
    return found if operation is Operation.DELETE else found._replace(stored=read_stored(found.row(revision)))


def read_stored(row: Mapping[str, Any]) -> Stored:
    """Return what a row of the table Object says."""
    try:
        return read_object(row)
    except UnreadableRow as error:
        return error


class Batches:
    """The batches that are not unpacked yet, and what the rows under them say."""

    def __init__(self) -> None:
        self._batches: dict[BatchId, Batch] = {}
        self._entries: dict[Key, tuple[Entry, int]] = {}
        """With the revision."""
        self._rows: dict[Key, Stored] = {}
        self._expected: dict[BatchId, Batch] = {}

    def __len__(self) -> int:
        return len(self._batches)

    @property
    def ids(self) -> AbstractSet[BatchId]:
        """Which batches there are."""
        return self._batches.keys()

    def __contains__(self, key: Key) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches, the oldest first."""
        return (self._batches[each] for each in sorted(self._batches))

    def expect(self, batches: Iterable[Batch]) -> None:
        """Say what is being written, so that it need not be parsed when it comes back."""
        self._expected = {batch.id: batch for batch in batches}

    def read(self, row: Mapping[str, Any]) -> Batch:
        """Return a batch from its row. Raises UnreadableRow."""
        expected = self._expected.pop(batch_id(row), None)
        return expected if expected is not None and expected.text == row["objects"] else read_batch(row)

    def note_row(self, key: Key, row: Mapping[str, Any] | None) -> None:
        """Take note of what the row of one of their objects says; None: it is gone."""
        entry, revision = self._entries[key]
        if row is None:
            self._rows[key] = None
        else:  # nearly always the row that the batch is unpacked to
            self._rows[key] = entry.stored if entry.says(row, revision) else read_stored(row)

    def lay(self, batch: Batch, rows: Iterable[Stored]) -> None:
        """Lay a batch over what its objects' rows say."""
        self._batches[batch.id] = batch
        for entry, stored in zip(batch.entries, rows, strict=True):
            self._entries[entry.key] = entry, batch.revision
            self._rows[entry.key] = stored

    def lift(self, identity: BatchId) -> list[tuple[Key, Stored, Stored]]:
        """Take a batch away; return its objects with what it said and what their rows say."""
        batch = self._batches.pop(identity, None)
        found = []
        for entry in batch.entries if batch else ():
            del self._entries[entry.key]
            found.append((entry.key, entry.stored, self._rows.pop(entry.key)))
        return found
