"""python-ovs as the oracle: both follow one server through random transactions and must agree on everything."""

from __future__ import annotations

import json
import random
import time
import uuid as uuids
from typing import Any

import ovs.db.idl
import ovs.poller
import pytest
from tests.ovsdb.servers import OvsdbServer

from ovenbird.ovsdb import Client, ColumnType, Replica, Transaction

KINDS = ("integer", "real", "boolean", "string", "uuid")
SHAPES = ("scalar", "optional", "set", "map", "single_map")


def column_types() -> dict[str, Any]:
    """One column for every shape of every type, and references."""
    columns: dict[str, Any] = {}
    for kind in KINDS:
        columns[f"scalar_{kind}"] = {"type": {"key": kind}}
        columns[f"optional_{kind}"] = {"type": {"key": kind, "min": 0, "max": 1}}
        columns[f"set_{kind}"] = {"type": {"key": kind, "min": 0, "max": "unlimited"}}
        columns[f"single_map_{kind}"] = {"type": {"key": "string", "value": kind, "min": 0, "max": 1}}
        for value in KINDS:
            columns[f"map_{kind}_{value}"] = {"type": {"key": kind, "value": value, "min": 0, "max": "unlimited"}}
    columns["strong"] = {"type": {"key": {"type": "uuid", "refTable": "Leaf"}, "min": 0, "max": "unlimited"}}
    columns["weak"] = {
        "type": {"key": {"type": "uuid", "refTable": "Thing", "refType": "weak"}, "min": 0, "max": "unlimited"}
    }
    return columns


SCHEMA = {
    "name": "Oracle",
    "version": "1.0.0",
    "tables": {
        "Thing": {"columns": column_types(), "isRoot": True},
        "Leaf": {"columns": {"name": {"type": "string"}}},
    },
}


def atom(rng: random.Random, kind: str) -> Any:
    if kind == "integer":
        return rng.choice([0, 1, -1, rng.randrange(-(2**63), 2**63), rng.randrange(4)])
    if kind == "real":
        return rng.choice([0.0, 1.0, -2.5, rng.random(), 1e15, 3])
    if kind == "boolean":
        return rng.random() < 0.5
    if kind == "string":
        return rng.choice(["", "a", "b", 'quo"te', "back\\slash", "Zürich \U0001f600", "line\nfeed", str(rng.random())])
    return rng.choice([str(uuids.UUID(int=0)), str(uuids.UUID(int=rng.getrandbits(128))), str(uuids.UUID(int=7))])


def value(rng: random.Random, column: ColumnType) -> Any:
    if column.is_map:
        count = rng.randrange(2 if column.maximum == 1 else 5)
        return {atom(rng, column.key): atom(rng, column.value or "") for _ in range(count)}
    if column.is_scalar:
        return atom(rng, column.key)
    if column.is_optional:
        return rng.choice([None, atom(rng, column.key)])
    return frozenset(atom(rng, column.key) for _ in range(rng.randrange(5)))


class Oracle:
    """The other client, brought up to date on demand."""

    def __init__(self, remote: str) -> None:
        helper = ovs.db.idl.SchemaHelper(None, SCHEMA)
        helper.register_all()
        self.idl = ovs.db.idl.Idl(remote, helper)

    def content(self, settled: int) -> dict[str, dict[str, dict[str, Any]]]:
        """Read until the marker row says that everything up to that step was seen."""
        deadline_s = time.monotonic() + 20
        while True:
            self.idl.run()
            if any(row.name == f"step {settled}" for row in self.idl.tables["Leaf"].rows.values()):
                break
            assert time.monotonic() < deadline_s, "the oracle is late"
            poller = ovs.poller.Poller()
            self.idl.wait(poller)
            poller.timer_wait(100)
            poller.block()
        return {
            name: {str(uuid): self._row(table, row) for uuid, row in table.rows.items()}
            for name, table in self.idl.tables.items()
        }

    @staticmethod
    def _row(table: Any, row: Any) -> dict[str, Any]:
        return {name: plain(row._data[name], column.type) for name, column in table.columns.items()}


def plain(datum: Any, kind: Any) -> Any:
    found = datum.to_python(lambda uuid, _base: uuid)
    if kind.is_map():
        return {text(key): text(item) for key, item in found.items()}
    if not isinstance(found, list):
        return text(found)
    atoms = frozenset(text(item) for item in found)
    if kind.n_max == 1:
        return next(iter(atoms), None)
    return atoms


def text(item: Any) -> Any:
    return str(item) if isinstance(item, uuids.UUID) else item


def random_transaction(rng: random.Random, replica: Replica, columns: dict[str, ColumnType], step: int) -> Transaction:
    things, leaves = list(replica.table("Thing")), list(replica.table("Leaf"))
    txn = Transaction(f"step {step}")
    marker = txn.insert("Leaf", {"name": f"step {step}"})
    keeper = {"strong": [marker, *rng.sample(leaves, min(len(leaves), rng.randrange(4)))]}
    for _ in range(rng.randrange(1, 4)):
        some = rng.sample(sorted(columns), rng.randrange(1, 12))
        row = {name: value(rng, columns[name]) for name in some}
        row["weak"] = rng.sample(things, min(len(things), rng.randrange(4)))
        action = rng.random()
        if not things or action < 0.3:
            txn.insert("Thing", row)
        elif action < 0.85:
            txn.update("Thing", row, uuid=rng.choice(things))
        elif len(things) > 3:
            txn.delete("Thing", uuid=rng.choice(things))
    txn.insert("Thing", keeper)
    return txn


@pytest.mark.parametrize("seed", [1, 2])
async def test_both_clients_agree_after_every_transaction(tmp_path, seed):
    rng = random.Random(seed)
    schema = tmp_path / "oracle.ovsschema"
    schema.write_text(json.dumps(SCHEMA), encoding="utf-8")
    async with (
        OvsdbServer(schema=schema) as server,
        Client("Oracle", [server.unix]) as client,
        Replica(client, {"Thing": None, "Leaf": None}) as replica,
    ):
        await replica.ready(timeout_s=5)
        oracle = Oracle(server.unix)
        columns = {
            name: kind for name, kind in client.schema.table("Thing").columns.items() if name not in {"strong", "weak"}
        }
        for step in range(40):
            await client.transact(random_transaction(rng, replica, columns, step))
            ours = {name: {uuid: dict(row) for uuid, row in replica.table(name).items()} for name in ("Thing", "Leaf")}
            assert ours == oracle.content(step)
        assert len(ours["Thing"]) > 20
        async with Replica(client, {"Thing": None, "Leaf": None}) as cold:
            await cold.ready(timeout_s=5)
            assert {n: dict(cold.table(n)) for n in ours} == {n: dict(replica.table(n)) for n in ours}
        oracle.idl.close()
