"""Great changes on real RAFT clusters: declared at once, unpacked once, by whoever is left, and never half."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.controller_bench import CLUSTER, Databases, databases, documents, network, port
from tests.packing_process import PORTS, declaration
from tests.raft_cluster import OVENBIRD_SCHEMA, RaftDatabase
from tests.waiting import eventually

from ovenbird.controller.events import BATCH_UNPACKED, Events
from ovenbird.controller.service import ControllerService
from ovenbird.controller.store import Store
from ovenbird.controller.unpacking import unpack
from ovenbird.model.cluster import Database
from ovenbird.model.errors import Refused, UserError
from ovenbird.model.objects import Key
from ovenbird.ovsdb import Transaction, WaitFailed

pytestmark = pytest.mark.daemons

WIDE = network("wide", "10.60.0.0/16")
TIMEOUT_S = 60.0


@pytest.fixture(scope="module")
def dbs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    with databases(tmp_path_factory.mktemp("batches")) as found:
        yield found


@pytest.fixture
async def store(dbs: Databases) -> AsyncIterator[Store]:
    """An API server's copy of what is declared; nothing is when a test begins."""
    async with store_of(dbs) as found:
        with contextlib.suppress(UserError):
            await found.delete([each.key for each in found.inventory], timeout_s=TIMEOUT_S)
        yield found


@contextlib.asynccontextmanager
async def store_of(dbs: Databases, node: str = "c1") -> AsyncIterator[Store]:
    async with Store(CLUSTER, Events(node), remotes=dbs.remotes[Database.OVENBIRD]) as found:
        await found.ready(30)
        yield found


@contextlib.asynccontextmanager
async def controller(dbs: Databases, parts: int, *, until: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `packing_process` until it says so."""
    remotes = [",".join(dbs.remotes[database]) for database in (Database.NB, Database.OVENBIRD)]
    command = [sys.executable, "-m", "tests.packing_process", "old", str(parts), *remotes]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(3 * TIMEOUT_S):
            while (said := (await process.stdout.readline()).decode().strip()) != until:
                assert said, "it ended"
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def rows(store: Store, table: str, *columns: str) -> list[dict[str, Any]]:
    """Return what the database itself holds."""
    txn = Transaction()
    txn.select(table, columns=columns)
    return [dict(row) for row in (await store.client.transact(txn, timeout_s=TIMEOUT_S)).rows(0)]


async def assert_unpacked(store: Store, count: int) -> None:
    """Every object has exactly one row, which says what is declared; nothing is left packed."""
    found = await rows(store, "Object", "kind", "name", "spec", "assigned", "revision")
    assert len(found) == count == len(store.inventory)
    for row in found:
        declared = store.inventory.get(Key(row["kind"], row["name"]))
        assert declared is not None
        assert json.loads(row["spec"]) == declared.spec.model_dump(mode="json", exclude_none=True)
        assert json.loads(row["assigned"])["address"] == declared.assigned.address
        assert row["revision"] == declared.revision
    assert await rows(store, "Batch", "revision") == []


async def in_nb(service: ControllerService) -> None:
    await eventually(lambda: service.leadership.committed_revision == service.store.revision > 0, within_s=30)


@pytest.mark.parametrize(("parts", "until"), [(0, "stored"), (1, "unpacked")])
async def test_what_a_killed_controller_has_not_unpacked_the_next_one_unpacks(
    dbs: Databases, store: Store, parts: int, until: str
) -> None:
    async with controller(dbs, parts, until=until) as process:
        revision = await declared_revision(store)
        left = await rows(store, "Batch", "revision", "part")
        assert len(left) == 2 - parts
        process.kill()
        await process.wait()
    # Everything is declared, whatever is in rows; also to one who comes only now.
    assert len(store.inventory) == PORTS + 1
    async with dbs.candidate("c2") as service:
        await service.store.ready(30)
        assert len(service.store.inventory) == PORTS + 1
        await in_nb(service)
        await eventually(lambda: service.events.named(BATCH_UNPACKED), within_s=30)
        assert store.revision == service.store.revision == revision
        await assert_unpacked(service.store, PORTS + 1)
        assert len(await dbs.column("Logical_Switch_Port", "name")) == PORTS


async def declared_revision(store: Store) -> int:
    await eventually(lambda: len(store.inventory) == PORTS + 1, within_s=30)
    return store.revision


async def test_one_who_comes_late_unpacks_nothing_a_second_time(dbs: Databases, store: Store) -> None:
    """A controller that was stopped for a while sends what it was about to send; others have gone on."""
    await store.apply(documents(WIDE, *declaration()), timeout_s=TIMEOUT_S)
    late = [unpack(batch) for batch in store.state.batches]
    async with store_of(dbs, "c2") as other:
        await other.delete([Key("Port", "vm0")], timeout_s=TIMEOUT_S)
        await other.apply(documents(port("vm1", "wide, address: 10.60.9.9")), timeout_s=TIMEOUT_S)
        for txn in late:
            with pytest.raises(WaitFailed):
                await store.client.transact(txn, timeout_s=TIMEOUT_S)
        await assert_unpacked(other, PORTS)
        port_1 = other.inventory.get(Key("Port", "vm1"))
        assert port_1 is not None
        assert port_1.assigned.address == "10.60.9.9"
        await eventually(lambda: store.inventory.get(Key("Port", "vm1")) == port_1, within_s=10)


async def test_a_change_right_behind_a_great_one_builds_upon_it(dbs: Databases, store: Store) -> None:
    """Whatever host is asked, whether a controller acts or not."""
    async with store_of(dbs, "c2") as other:
        await store.apply(documents(WIDE, *declaration()), timeout_s=TIMEOUT_S)
        taken = store.inventory.get(Key("Port", "vm7"))
        assert taken is not None
        with pytest.raises(UserError) as error:
            await other.apply(documents(port("rival", f"wide, address: {taken.assigned.address}")))
        assert "vm7" in error.value.problems[0].message
        with pytest.raises(Refused):
            await other.delete([Key("Network", "wide")])
        # Told without anything being written.
        assert len(await rows(store, "Batch", "part")) == 2
        shown = await other.apply(documents(*declaration(0, 2), port("more", "wide")), dry_run=True)
        assert [change.action for change in shown.changes] == ["unchanged", "unchanged", "create"]
        assert len(await rows(store, "Batch", "part")) == 2
        assert (await other.attach("vm3", "h1", {"type": "namespace"})).node == "h1"
        with pytest.raises(Refused):
            await store.delete([Key("Port", "vm3")])
        await other.apply(documents(port("more", "wide")), timeout_s=TIMEOUT_S)
        addresses = [each.assigned.address for each in other.inventory.of_kind("Port").values()]
        assert len(set(addresses)) == len(addresses) == PORTS + 1
        await assert_unpacked(other, PORTS + 2)
        await store.detach("vm3")


async def test_great_changes_upon_each_other(dbs: Databases, store: Store) -> None:
    """New, changed and deleted objects; the second is stored when the first has become rows."""
    half = PORTS // 2
    await store.apply(documents(WIDE, *declaration()), timeout_s=TIMEOUT_S)
    changed = [port(f"vm{number}", "wide, port_security: false") for number in range(half)]
    await store.apply(documents(*changed, *declaration(PORTS, 10)), timeout_s=TIMEOUT_S)
    assert {row["revision"] for row in await rows(store, "Batch", "revision")} == {store.revision}
    await store.delete([Key("Port", f"vm{number}") for number in range(half, PORTS)], timeout_s=TIMEOUT_S)
    assert len(store.inventory) == half + 10 + 1
    async with store_of(dbs, "c2") as other:
        assert {each.key: each for each in other.inventory} == {each.key: each for each in store.inventory}
        while other.state.batches:
            await other.unpack(timeout_s=TIMEOUT_S)
        await assert_unpacked(other, half + 10 + 1)
        assert not other.inventory.get(Key("Port", "vm0")).spec.port_security  # type: ignore[union-attr]


async def test_a_database_of_an_older_version_gets_rows(tmp_path: Path) -> None:
    schema = json.loads(OVENBIRD_SCHEMA.read_text())
    del schema["tables"]["Batch"]
    older = tmp_path / "older.ovsschema"
    older.write_text(json.dumps(schema))
    with RaftDatabase(tmp_path / "db", Database.OVENBIRD.value, older, size=1) as database:
        async with Store(CLUSTER, Events("c1"), remotes=database.remotes) as store:
            await store.ready(30)
            await store.apply(documents(WIDE, *declaration()), timeout_s=TIMEOUT_S)
            assert len(await rows(store, "Object", "name")) == PORTS + 1
