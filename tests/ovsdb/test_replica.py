from __future__ import annotations

import asyncio
import gc
import json
import time
from typing import Any

import pytest
from tests.ovsdb.servers import NB_SCHEMA, OvsdbCluster, OvsdbServer, tool
from tests.waiting import eventually

from ovenbird.ovsdb import ChangeSet, Client, DeadlineExceeded, Replica, Transaction
from ovenbird.ovsdb.collector import BulkLoad

SWITCHES = {"Logical_Switch": ["name", "ports", "external_ids"], "Logical_Switch_Port": ["name", "options", "tag"]}


async def add_switch(client: Client, name: str, **columns: Any) -> str:
    txn = Transaction()
    row = txn.insert("Logical_Switch", {"name": name, **columns})
    await client.transact(txn)
    return row


def names(replica: Replica) -> set[str]:
    return {row["name"] for row in replica.table("Logical_Switch").values()}


def brief(change_set: ChangeSet) -> set[tuple[str | None, str | None]]:
    return {(c.old["name"] if c.old else None, c.new["name"] if c.new else None) for c in change_set.rows}


async def test_ones_own_write_is_in_the_replica_before_the_reply(client):
    async with Replica(client, SWITCHES) as replica:
        await replica.ready(timeout_s=5)
        for number in range(20):
            row = await add_switch(client, f"s{number}")
            assert replica.table("Logical_Switch")[row]["name"] == f"s{number}"


async def test_rows_follow_every_kind_of_change(client):
    async with Replica(client, SWITCHES) as replica:
        await replica.ready(timeout_s=5)
        txn = Transaction()
        ports = [
            txn.insert("Logical_Switch_Port", {"name": f"p{n}", "options": {"k": str(n)}, "tag": 5}) for n in (1, 2)
        ]
        switch = txn.insert("Logical_Switch", {"name": "s", "ports": ports, "external_ids": {"a": "1", "b": "2"}})
        await client.transact(txn)
        before = replica.table("Logical_Switch")[switch]

        txn = Transaction()
        txn.mutate("Logical_Switch", "ports", "delete", [ports[0]], uuid=switch)
        txn.update("Logical_Switch", {"external_ids": {"b": "3", "c": "4"}}, uuid=switch)
        txn.update("Logical_Switch_Port", {"tag": None, "options": {}}, uuid=ports[1])
        await client.transact(txn)

        row = replica.table("Logical_Switch")[switch]
        assert dict(row) == {"name": "s", "ports": frozenset({ports[1]}), "external_ids": {"b": "3", "c": "4"}}
        assert set(replica.table("Logical_Switch_Port")) == {ports[1]}, "the unreferenced port is collected"
        assert dict(replica.table("Logical_Switch_Port")[ports[1]]) == {"name": "p2", "options": {}, "tag": None}
        assert before["external_ids"] == {"a": "1", "b": "2"}, "a row that was handed out does not change"

        txn = Transaction()
        txn.delete("Logical_Switch", uuid=switch)
        await client.transact(txn)
        assert not replica.table("Logical_Switch")
        assert not replica.table("Logical_Switch_Port")


async def test_a_transaction_shows_in_all_its_tables_at_once(client):
    async with Replica(client, SWITCHES) as replica:
        await replica.ready(timeout_s=5)
        changes = replica.changes()
        assert (await anext(changes)).initial
        txn = Transaction()
        port = txn.insert("Logical_Switch_Port", {"name": "p"})
        switch = txn.insert("Logical_Switch", {"name": "s", "ports": [port]})
        await client.transact(txn)
        change_set = await anext(changes)
        assert {(change.table, change.uuid) for change in change_set.rows} == {
            ("Logical_Switch", switch),
            ("Logical_Switch_Port", port),
        }


async def test_a_slow_subscriber_gets_changes_merged_and_nothing_that_undid_itself(client):
    async with Replica(client, SWITCHES) as replica:
        await replica.ready(timeout_s=5)
        row = await add_switch(client, "start")
        slow, quick = replica.changes(), replica.changes()
        assert brief(await anext(slow)) == brief(await anext(quick)) == {(None, "start")}
        for number in range(10):
            txn = Transaction()
            txn.update("Logical_Switch", {"name": f"n{number}"}, uuid=row)
            passing = txn.insert("Logical_Switch", {"name": "passing"})
            await client.transact(txn)
            assert brief(await anext(quick)) == {
                ("start" if not number else f"n{number - 1}", f"n{number}"),
                (None, "passing"),
            }
            txn = Transaction()
            txn.delete("Logical_Switch", uuid=passing)
            await client.transact(txn)
            assert brief(await anext(quick)) == {("passing", None)}
        assert brief(await anext(slow)) == {("start", "n9")}
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await anext(slow)


async def test_a_dropped_subscriber_is_forgotten(client):
    async with Replica(client, SWITCHES) as replica:
        await replica.ready(timeout_s=5)
        for _ in range(100):
            replica.changes()
        await add_switch(client, "x")
        assert len(replica._subscribers) <= 1


async def test_the_stream_ends_with_the_replica(client):
    async with Replica(client, SWITCHES) as replica:
        await replica.ready(timeout_s=5)
        changes = replica.changes()
    assert [change_set.initial async for change_set in changes] == [True]


async def test_what_the_schema_lacks_is_an_absent_capability(client):
    wanted = {"Logical_Switch": ["name", "from_the_future"], "Also_From_The_Future": None}
    async with Replica(client, wanted) as replica:
        await replica.ready(timeout_s=5)
        assert replica.has("Logical_Switch")
        assert replica.has("Logical_Switch", "name")
        assert not replica.has("Logical_Switch", "from_the_future")
        assert not replica.has("Also_From_The_Future")
        assert replica.table("Also_From_The_Future") == {}
        row = replica.table("Logical_Switch")[await add_switch(client, "s")]
        assert "from_the_future" not in row
        assert row.get("from_the_future") is None
        with pytest.raises(KeyError):
            replica.table("Never_Asked_For")


async def test_conditions_choose_rows_and_rows_come_and_go_with_them(client):
    where = {"Logical_Switch": [("external_ids", "includes", {"mine": "1"})]}
    async with Replica(client, {"Logical_Switch": ["name"]}, where=where) as replica:
        await replica.ready(timeout_s=5)
        await add_switch(client, "other")
        row = await add_switch(client, "mine", external_ids={"mine": "1"})
        assert names(replica) == {"mine"}
        txn = Transaction()
        txn.update("Logical_Switch", {"external_ids": {}}, uuid=row)
        await client.transact(txn)
        assert names(replica) == set()


async def test_a_replica_waits_for_a_predicate_and_says_what_is_wrong_when_it_does_not_come(server, client):
    async with Replica(client, SWITCHES) as replica:
        waiting = asyncio.create_task(replica.wait_until(lambda r: "late" in names(r), timeout_s=5))
        await add_switch(client, "late")
        await waiting
        with pytest.raises(DeadlineExceeded):
            await replica.wait_until(lambda r: "never" in names(r), timeout_s=0.1)
    async with Client(server.database, ["tcp:127.0.0.1:1"]) as nobody, Replica(nobody, SWITCHES) as replica:
        with pytest.raises(DeadlineExceeded, match="connection refused"):
            await replica.ready(timeout_s=0.3)


async def test_after_a_restart_of_a_standalone_server_everything_comes_again_and_only_differences_are_reported(server):
    async with Client(server.database, [server.unix]) as client, Replica(client, SWITCHES) as replica:
        await client.wait_connected(timeout_s=5)
        kept, lost = await add_switch(client, "kept"), await add_switch(client, "lost")
        await replica.wait_until(lambda r: len(r.table("Logical_Switch")) == 2, timeout_s=5)
        kept_row = replica.table("Logical_Switch")[kept]
        changes = replica.changes()
        await anext(changes)

        await server.kill()
        await eventually(lambda: not replica.synced, within_s=5)
        assert names(replica) == {"kept", "lost"}, "the last known content stays"
        delete = {"op": "delete", "table": "Logical_Switch", "where": [["_uuid", "==", ["uuid", lost]]]}
        insert = {"op": "insert", "table": "Logical_Switch", "row": {"name": "new"}}
        tool("transact", server.file, json.dumps([server.database, delete, insert]))
        await server.start()

        change_set = await anext(changes)
        assert change_set.resync
        assert brief(change_set) == {("lost", None), (None, "new")}
        assert replica.synced
        assert replica.table("Logical_Switch")[kept] is kept_row, "an unchanged row is not made anew"


async def test_a_clustered_server_sends_only_what_was_missed(cluster: OvsdbCluster):
    """Two clients: one is cut off while the other writes; where it stood, it knows from the monitor's reply alone."""
    async with (
        Client(cluster.database, cluster.remotes) as writer,
        Client(cluster.database, cluster.remotes) as client,
    ):
        await writer.wait_connected(timeout_s=10)
        row = await add_switch(writer, "s", external_ids={"a": "1"})
        for number in range(20):  # the history may hold no more than the database does
            await add_switch(writer, f"padding{number}")
        await client.wait_connected(timeout_s=10)
        async with Replica(client, SWITCHES) as replica:
            await replica.ready(timeout_s=10)
            assert len(names(replica)) == 21
            await _cut_off_while_another_writes(replica, client, writer, row)


async def _cut_off_while_another_writes(replica: Replica, client: Client, writer: Client, row: str) -> None:
    changes = replica.changes()
    await anext(changes)
    session = client.session
    assert session is not None
    session.connection.abort("cut off by the test")
    txn = Transaction()
    txn.update("Logical_Switch", {"external_ids": {"a": "1", "b": "2"}}, uuid=row)
    await writer.transact(txn)
    change_set = await anext(changes)
    assert not change_set.resync
    assert [dict(change.new["external_ids"]) for change in change_set.rows if change.new] == [{"a": "1", "b": "2"}]


async def test_a_new_schema_is_noticed_and_its_columns_appear(server):
    schema = json.loads(NB_SCHEMA.read_text(encoding="ascii"))
    schema["version"] = "99.0.0"
    schema["tables"]["Logical_Switch"]["columns"]["fresh"] = {"type": {"key": "string", "min": 0, "max": 1}}
    async with (
        Client(server.database, [server.unix]) as client,
        Client(server.database, [server.unix]) as bystander,
        Replica(client, {"Logical_Switch": ["name", "fresh"]}) as replica,
    ):
        await replica.ready(timeout_s=5)
        await bystander.wait_connected(timeout_s=5)
        row = await add_switch(client, "s")
        assert not replica.has("Logical_Switch", "fresh")
        await client.call("convert", [server.database, schema], timeout_s=10)
        await replica.wait_until(lambda r: r.has("Logical_Switch", "fresh"), timeout_s=10)
        assert client.schema.version == "99.0.0"
        await eventually(lambda: bystander.connected and bystander.schema.version == "99.0.0", within_s=5)
        assert replica.table("Logical_Switch")[row]["fresh"] is None
        txn = Transaction()
        txn.update("Logical_Switch", {"fresh": "x"}, uuid=row)
        await client.transact(txn)
        assert replica.table("Logical_Switch")[row]["fresh"] == "x"


@pytest.mark.parametrize(
    "missing", [["monitor_cond_since"], ["monitor_cond_since", "monitor_cond"]], ids=["update2", "update"]
)
async def test_older_monitor_versions_serve_as_well(client, monkeypatch, missing):
    """The server is asked for methods that it does not know, as an older one would be."""
    monkeypatch.setattr(
        "ovenbird.ovsdb.replica._METHODS",
        tuple(f"{name}_unknown" for name in missing)
        + tuple(n for n in ("monitor_cond", "monitor") if n not in missing),
    )
    async with Replica(client, SWITCHES) as replica:
        txn = Transaction()
        port = txn.insert("Logical_Switch_Port", {"name": "p", "options": {"a": "1"}})
        switch = txn.insert("Logical_Switch", {"name": "s", "ports": [port]})
        await client.transact(txn)
        await replica.ready(timeout_s=5)
        assert names(replica) == {"s"}
        txn = Transaction()
        txn.update("Logical_Switch_Port", {"options": {"b": "2"}}, uuid=port)
        txn.insert("Logical_Switch", {"name": "t"})
        await client.transact(txn)
        assert replica.table("Logical_Switch_Port")[port]["options"] == {"b": "2"}
        assert replica.table("Logical_Switch_Port")[port]["tag"] is None
        assert names(replica) == {"s", "t"}
        txn = Transaction()
        txn.delete("Logical_Switch", uuid=switch)
        await client.transact(txn)
        assert names(replica) == {"t"}
        assert not replica.table("Logical_Switch_Port")


async def test_a_large_load_keeps_the_event_loop_and_both_probes_alive():
    """12,000 ports, about 4 MB in one reply, with a server that drops silent clients after a second."""
    async with OvsdbServer() as server, Client(server.database, [server.remote], probe_interval_ms=500) as client:
        await client.wait_connected(timeout_s=5)
        for batch in range(12):
            txn = Transaction()
            ports = [
                txn.insert("Logical_Switch_Port", {"name": f"p{batch}-{n}", "options": {"a": "b" * 100, "n": str(n)}})
                for n in range(1000)
            ]
            txn.insert("Logical_Switch", {"name": f"s{batch}", "ports": ports})
            await client.transact(txn, timeout_s=30)
        gaps: list[float] = []
        ticker = asyncio.create_task(_tick(gaps))
        async with Replica(client, {"Logical_Switch": None, "Logical_Switch_Port": None}) as replica:
            await replica.ready(timeout_s=30)
            assert len(replica.table("Logical_Switch_Port")) == 12_000
            assert client.connected
            assert not client.reasons
        ticker.cancel()
        assert max(gaps) < 0.25


async def _tick(gaps: list[float]) -> None:
    while True:
        before_s = time.monotonic()
        await asyncio.sleep(0.005)
        gaps.append(time.monotonic() - before_s)


async def test_the_collector_runs_again_after_a_load(client):
    await add_switch(client, "s")
    async with Replica(client, SWITCHES) as replica:
        await replica.ready(timeout_s=5)
        assert gc.isenabled()


def test_loads_may_overlap_and_break_off():
    first, second = BulkLoad(), BulkLoad()
    first.begin()
    second.begin()
    second.begin()
    assert not gc.isenabled()
    second.end()
    assert not gc.isenabled(), "the first still runs"
    first.end()
    first.end()
    assert gc.isenabled()
