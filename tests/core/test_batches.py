"""What is declared is the objects' rows with the batches laid over them, in whatever order and pieces both are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovenbird.controller.batches import Batch, Operation, pack, read_batch
from ovenbird.controller.records import UnreadableRow, object_row, object_uuid, read_object
from ovenbird.controller.state import DeclaredState
from ovenbird.model.objects import Assigned, Declared, Key, Network, Port
from ovenbird.plan.change import Change

Rows = dict[tuple[str, str], dict[str, Any]]
"""(table, UUID) -> row."""
NAMES = [f"vm{number}" for number in range(6)]
BLUE = Declared(kind="Network", name="blue", spec=Network(cidr="10.0.0.0/24"), revision=1)


def vm(name: str, host: int, revision: int) -> Declared:
    assigned = Assigned(address=f"10.0.0.{host}", mac=f"0a:00:00:00:00:{host:02x}")
    return Declared(kind="Port", name=name, spec=Port(network="blue"), assigned=assigned, revision=revision)


def unpacked(rows: Rows, batch: Batch) -> Rows:
    """Return the rows after a batch was unpacked, as the database would have them."""
    after = {where: row for where, row in rows.items() if where != ("Batch", batch.uuid)}
    for entry in batch.entries:
        where = ("Object", object_uuid(entry.key))
        assert (where in after) is (entry.operation is not Operation.INSERT)
        if entry.operation is Operation.DELETE:
            del after[where]
        else:
            after[where] = entry.row(batch.revision)
    return after


def difference(before: Rows, after: Rows) -> list[tuple[str, Mapping[str, Any] | None, Mapping[str, Any] | None]]:
    return [
        (where[0], before.get(where), after.get(where))
        for where in before.keys() | after.keys()
        if before.get(where) != after.get(where)
    ]


def declared_by(rows: Rows) -> dict[Key, Declared]:
    """Say what rows declare, in the plainest way: unpack everything, read every row."""
    for (table, _), row in sorted(rows.items(), key=lambda each: (each[0][0], each[1]["revision"])):
        if table == "Batch":
            rows = unpacked(rows, read_batch(row))
    return {(found := read_object(row)).key: found for row in rows.values()}


def change(old: Declared | None, new: Declared | None) -> Change:
    either = new or old
    assert either is not None
    return Change(action="update", key=either.key, old=old, new=new)


@st.composite
def histories(draw: st.DrawFn) -> list[Rows]:
    """Every content that a database has had: changes great and small, batches unpacked part by part, or thrown away."""
    rows: Rows = {("Object", object_uuid(BLUE.key)): object_row(BLUE)}
    history = [rows]
    for revision in range(2, draw(st.integers(3, 9))):
        batches = [read_batch(row) for (table, _), row in sorted(rows.items()) if table == "Batch"]
        for batch in draw(st.permutations(batches)):
            rows = unpacked(rows, batch)
            history.append(rows)
        present = {key.name: each for key, each in declared_by(rows).items() if key.kind == "Port"}
        hosts = draw(st.dictionaries(st.sampled_from(NAMES), st.none() | st.integers(2, 9), min_size=1))
        changes = [
            change(present.get(name), None if host is None else vm(name, host, revision))
            for name, host in hosts.items()
            if host is not None or name in present
        ]
        if draw(st.booleans()):
            packed = pack(changes, revision, part_objects=draw(st.integers(1, 4)))
            rows = rows | {("Batch", batch.uuid): batch.columns() for batch in packed}
        else:
            rows = dict(rows)
            for each in changes:
                where = ("Object", object_uuid(each.key))
                rows.pop(where, None)
                rows |= {where: object_row(each.new)} if each.new else {}
        history.append(rows)
        if draw(st.integers(0, 4)) == 0:
            rows = {where: row for where, row in rows.items() if where[0] != "Batch"}
            history.append(rows)
    return history


def shown(state: DeclaredState) -> dict[Key, Declared]:
    return {each.key: each for each in state.inventory}


@given(histories(), st.data())
def test_unpacking_changes_nothing_and_any_pieces_end_the_same(history: list[Rows], data: st.DataObject) -> None:
    state, before = DeclaredState(), Rows()
    # One who lags is told several transactions as one.
    told = sorted({*data.draw(st.sets(st.integers(0, len(history) - 1))), len(history) - 1})
    for position in told:
        rows = history[position]
        version, present = state.inventory.version, shown(state)
        noticed = state.feed(data.draw(st.permutations(difference(before, rows))))
        assert shown(state) == declared_by(rows)
        assert (
            noticed.objects.items()
            >= {
                key: present.get(key)
                for key in present.keys() | shown(state).keys()
                if present.get(key) != shown(state).get(key)
            }.items()
        )
        if before and declared_by(before) == declared_by(rows):
            assert state.inventory.version == version or not _only_unpacked(before, rows)
        before = rows
        assert len(state.batches) == sum(table == "Batch" for table, _ in rows)
    fresh = DeclaredState()
    fresh.feed(difference({}, before))
    assert shown(fresh) == shown(state)
    assert not state.unreadable


def _only_unpacked(before: Rows, after: Rows) -> bool:
    for row in [row for (table, uuid), row in before.items() if table == "Batch" and (table, uuid) not in after]:
        before = unpacked(before, read_batch(row))
    return before == after


def test_what_its_writer_sees_come_back_is_what_it_wrote() -> None:
    state, new = DeclaredState(), vm("vm1", 2, 2)
    batches = pack([change(None, new)], 2)
    state.expect({}, batches)
    state.feed([("Batch", None, batches[0].columns())])
    assert state.inventory.get(new.key) is new
    version = state.inventory.version
    noticed = state.feed([("Object", None, object_row(new)), ("Batch", batches[0].columns(), None)])
    assert state.inventory.get(new.key) is new
    assert (noticed.objects, state.inventory.version, len(state.batches)) == ({}, version, 0)


def test_a_batch_is_read_as_it_was_packed() -> None:
    changes = [change(None, vm("vm1", 2, 5)), change(vm("vm2", 3, 4), vm("vm2", 4, 5)), change(vm("vm3", 5, 4), None)]
    packed = pack(changes, 5, part_objects=2)
    assert [batch.id for batch in packed] == [(5, 0), (5, 1)]
    assert [read_batch(batch.columns()) for batch in packed] == packed
    assert packed[0].entries[1].row(5) == object_row(vm("vm2", 4, 5))


@pytest.mark.parametrize("line", ["insert\tPort\tvm1", "merge\tPort\tvm1\t{}\t{}", ""])
def test_a_batch_of_another_version_keeps_this_one_from_acting(line: str) -> None:
    state = DeclaredState()
    row = {"revision": 2, "part": 0, "objects": f"insert\tPort\tvm0\t{{}}\t{{}}\n{line}"}
    state.feed([("Batch", None, row)])
    assert "line 2: " in state.unreadable[Key("Batch", "2/0")]
    assert not list(state.inventory)
    state.feed([("Batch", row, None)])
    assert not state.unreadable


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(("batch", "unpack"), id="unpacked"),
        pytest.param(("batch",), id="packed"),
        pytest.param(("row", "batch", "unpack"), id="updated"),
    ],
)
def test_an_object_that_cannot_be_read_is_unpacked_all_the_same(steps: Sequence[str]) -> None:
    state, key, row = DeclaredState(), Key("Teleport", "x"), None
    spec = '{"to": "moon"}'
    operation = "update" if "row" in steps else "insert"
    batch_row = {"revision": 2, "part": 0, "objects": f"{operation}\tTeleport\tx\t{spec}\t{{}}"}
    for step in steps:
        if step == "row":
            row = {"kind": "Teleport", "name": "x", "spec": "{}", "assigned": "{}", "revision": 1}
            state.feed([("Object", None, row)])
        elif step == "batch":
            state.feed([("Batch", None, batch_row)])
        else:
            (batch,) = state.batches
            assert batch.entries[0].row(2)["spec"] == spec
            state.feed([("Batch", batch_row, None), ("Object", row, batch.entries[0].row(2))])
        assert "unknown kind" in state.unreadable[key]


def test_packing_keeps_what_a_row_would_say() -> None:
    new = Declared(kind="Network", name="odd", spec=Network(cidr="10.9.0.0/24", dns=("192.0.2.1",)), revision=3)
    (batch,) = pack([change(None, new)], 3)
    with pytest.raises(UnreadableRow):
        read_batch({"revision": 3, "part": 0, "objects": batch.text + "\t"})
    assert batch.entries[0].row(3) == object_row(new)
