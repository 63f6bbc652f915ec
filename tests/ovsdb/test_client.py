from __future__ import annotations

import asyncio
import uuid

import pytest
from tests.ovsdb.servers import OvsdbServer
from tests.waiting import eventually

from ovenbird.ovsdb import (
    CallError,
    Client,
    ConnectionLost,
    ConstraintViolation,
    DeadlineExceeded,
    DuplicateUuid,
    NotConnected,
    NotOwner,
    ReferentialIntegrityViolation,
    SchemaError,
    Transaction,
    UnixctlError,
    WaitFailed,
    probe_server,
    unixctl,
)


async def add_switch(client: Client, name: str, **columns: object) -> str:
    txn = Transaction()
    row = txn.insert("Logical_Switch", {"name": name, **columns})
    await client.transact(txn)
    return row


async def switches(client: Client) -> set[str]:
    txn = Transaction()
    txn.select("Logical_Switch", columns=["name"])
    return {row["name"] for row in (await client.transact(txn)).rows(0)}


async def test_a_transaction_inserts_rows_that_refer_to_each_other_and_reports_their_uuids(client):
    txn = Transaction("why")
    port = txn.insert("Logical_Switch_Port", {"name": "p1", "options": {"a": "b"}, "tag": 7, "up": None})
    switch = txn.insert("Logical_Switch", {"name": "s1", "ports": {port}, "external_ids": {"k": "v"}})
    txn.select("Logical_Switch", where=[("_uuid", "==", switch)])
    txn.select("Logical_Switch_Port", columns=["name", "tag", "up", "options", "addresses"])
    result = await client.transact(txn)

    assert (result.uuid(0), result.uuid(1)) == (port, switch)
    (row,) = result.rows(2)
    assert row.uuid == switch
    assert row["ports"] == frozenset({port})
    assert row["external_ids"] == {"k": "v"}
    (row,) = result.rows(3)
    assert dict(row) == {"name": "p1", "tag": 7, "up": None, "options": {"a": "b"}, "addresses": frozenset()}


async def test_update_mutate_and_delete_count_the_rows_that_they_touch(client):
    first = await add_switch(client, "a", external_ids={"x": "1", "y": "2"})
    await add_switch(client, "b")
    txn = Transaction()
    txn.mutate("Logical_Switch", "external_ids", "delete", ["x"], uuid=first)
    txn.mutate("Logical_Switch", "external_ids", "insert", {"z": "3"}, uuid=first)
    txn.update("Logical_Switch", {"other_config": {"vlan": "1"}}, where=[])
    txn.delete("Logical_Switch", where=[("name", "==", "b")])
    txn.select("Logical_Switch")
    txn.mutate("NB_Global", "nb_cfg", "+=", 5, where=[])
    result = await client.transact(txn)
    assert [result.count(index) for index in (0, 1, 2, 3, 5)] == [1, 1, 2, 1, 0]
    (row,) = result.rows(4)
    assert row["external_ids"] == {"y": "2", "z": "3"}
    assert row["other_config"] == {"vlan": "1"}


async def test_the_fence_holds_while_its_row_matches_and_fails_at_once_when_it_does_not(client):
    row = await add_switch(client, "fence", external_ids={"epoch": "7"})
    txn = Transaction()
    txn.wait_exists("Logical_Switch", uuid=row, where=[("external_ids", "includes", {"epoch": "7"})])
    txn.insert("Logical_Switch", {"name": "allowed"})
    await client.transact(txn)

    stale = Transaction()
    stale.insert("Logical_Switch", {"name": "refused"})
    stale.wait_exists("Logical_Switch", uuid=row, where=[("external_ids", "includes", {"epoch": "6"})])
    with pytest.raises(WaitFailed) as caught:
        await client.transact(stale)
    assert caught.value.operation_index == 1
    assert caught.value.operation is not None
    assert caught.value.operation["op"] == "wait"
    missing = Transaction()
    missing.wait_exists("Logical_Switch", uuid=str(uuid.uuid4()))
    with pytest.raises(WaitFailed):
        await client.transact(missing)
    assert await switches(client) == {"fence", "allowed"}


async def test_wait_compares_columns_with_rows(client):
    await add_switch(client, "s")
    txn = Transaction()
    txn.wait("Logical_Switch", where=[("name", "==", "s")], columns=["name"], rows=[{"name": "s"}])
    await client.transact(txn)
    txn.wait("Logical_Switch", where=[("name", "==", "s")], columns=["name"], rows=[{"name": "t"}])
    with pytest.raises(WaitFailed):
        await client.transact(txn)


async def test_every_refusal_is_typed_and_names_its_operation(client):
    chosen = str(uuid.uuid4())
    txn = Transaction()
    txn.insert("Logical_Switch", {"name": "first"}, uuid=chosen)
    await client.transact(txn)
    with pytest.raises(DuplicateUuid) as duplicate:
        await client.transact(txn)
    assert duplicate.value.operation_index == 0

    txn = Transaction()
    txn.comment("padding")
    txn.insert("Logical_Switch", {"name": "s", "ports": [str(uuid.uuid4())]})
    with pytest.raises(ReferentialIntegrityViolation) as dangling:
        await client.transact(txn)
    assert dangling.value.operation_index is None, "found at commit, not in one operation"

    txn = Transaction()
    txn.insert("Logical_Router_Static_Route", {"ip_prefix": "0.0.0.0/0", "nexthop": "10.0.0.1", "policy": "bogus"})
    with pytest.raises(ConstraintViolation) as enum:
        await client.transact(txn)
    assert enum.value.operation_index == 0
    assert "bogus" in str(enum.value)

    txn = Transaction()
    txn.assert_lock("nobody_has_it")
    with pytest.raises(NotOwner):
        await client.transact(txn)


async def test_a_duplicate_index_is_found_at_commit(client):
    txn = Transaction()
    txn.insert("Chassis_Template_Var", {"chassis": "c"})
    txn.insert("Chassis_Template_Var", {"chassis": "c"})
    with pytest.raises(ConstraintViolation) as caught:
        await client.transact(txn)
    assert caught.value.operation_index is None


@pytest.mark.parametrize(
    ("table", "row", "words"),
    [
        ("Nope", {}, "no table Nope"),
        ("Logical_Switch", {"nope": 1}, "no column nope"),
        ("Logical_Switch", {"name": 5}, "wants string"),
        ("Logical_Switch", {"external_ids": ["a"]}, "wants a mapping"),
        ("Logical_Switch", {"ports": ["not-a-uuid"]}, "wants uuid"),
        ("Logical_Switch_Port", {"tag": [1, 2]}, "2 values"),
        ("Logical_Switch_Port", {"enabled": 1}, "wants boolean"),
        ("Logical_Switch_Port", {"tag": True}, "wants integer"),
    ],
)
async def test_what_the_schema_lacks_is_refused_before_anything_is_sent(client, table, row, words):
    txn = Transaction()
    txn.insert(table, row)
    with pytest.raises(SchemaError, match=words):
        await client.transact(txn)


def test_an_update_without_a_target_is_refused():
    with pytest.raises(SchemaError):
        Transaction().update("Logical_Switch", {"name": "all of them?"})
    with pytest.raises(SchemaError):
        Transaction().delete("Logical_Switch", uuid="x", where=[])


async def test_a_call_past_its_deadline_is_canceled_at_the_server(server, client):
    txn = Transaction()
    txn.wait("Logical_Switch", where=[], columns=["name"], rows=[{"name": "later"}], timeout_ms=60_000)
    txn.insert("Logical_Switch", {"name": "must not appear"})
    with pytest.raises(DeadlineExceeded):
        await client.transact(txn, timeout_s=0.2)
    await add_switch(client, "later")  # would have woken the waiting transaction
    assert await switches(client) == {"later"}


async def test_a_cancelled_call_is_canceled_at_the_server_and_leaves_the_connection_usable(client):
    txn = Transaction()
    txn.wait("Logical_Switch", where=[], columns=["name"], rows=[{"name": "later"}], timeout_ms=60_000)
    txn.insert("Logical_Switch", {"name": "must not appear"})
    task = asyncio.create_task(client.transact(txn))
    await client.echo(timeout_s=5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await add_switch(client, "later")
    assert await switches(client) == {"later"}


async def test_a_transaction_in_flight_when_the_server_dies_has_an_unknown_outcome(server, client):
    server.pause()
    txn = Transaction()
    txn.insert("Logical_Switch", {"name": "who knows"})
    task = asyncio.create_task(client.transact(txn))
    await asyncio.sleep(0)
    await server.kill()
    with pytest.raises(ConnectionLost):
        await task
    await eventually(lambda: not client.connected, within_s=5)
    with pytest.raises(NotConnected):
        await client.transact(txn)
    await server.start()
    await client.wait_connected(timeout_s=10)
    assert await switches(client) <= {"who knows"}, "never sent twice"


async def test_waiting_for_a_server_that_is_not_there_says_per_remote_why():
    async with Client("OVN_Northbound", ["tcp:127.0.0.1:1", "unix:/nonexistent/sock"]) as client:
        with pytest.raises(DeadlineExceeded) as caught:
            await client.wait_connected(timeout_s=0.5)
    assert "tcp:127.0.0.1:1: connection refused" in str(caught.value)
    assert "unix:/nonexistent/sock: no such file" in str(caught.value)


async def test_a_server_without_the_database_is_refused_with_that_reason(server):
    async with Client("OVN_Southbound", [server.remote]) as client:
        with pytest.raises(DeadlineExceeded, match="does not serve database OVN_Southbound"):
            await client.wait_connected(timeout_s=0.5)


async def test_a_silent_server_is_given_up_and_used_again_when_it_wakes(server):
    async with Client(server.database, [server.remote], probe_interval_ms=200) as client:
        await client.wait_connected(timeout_s=5)
        server.pause()
        try:
            await eventually(lambda: not client.connected, within_s=5)
            assert "no answer to probes" in client.state.reason
        finally:
            server.resume()
        await client.wait_connected(timeout_s=10)
        await client.echo(timeout_s=5)


async def test_an_idle_server_is_kept_because_it_answers_probes(server):
    """A unix socket: this server itself never probes."""
    async with Client(server.database, [server.unix], probe_interval_ms=100) as client:
        await client.wait_connected(timeout_s=5)
        states = client.state_changes()
        assert (await anext(states)).connected
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await anext(states)
        await states.aclose()
        assert client.reasons == {}


async def test_the_servers_own_probes_are_answered(server):
    """The server probes after 1 s of silence and would drop a client that does not answer."""
    async with Client(server.database, [server.remote], probe_interval_ms=0) as client:
        await client.wait_connected(timeout_s=5)
        txn = Transaction()
        connection = txn.insert("Connection", {"target": "ptcp:0:127.0.0.1"})
        txn.insert("NB_Global", {"connections": [connection]})
        await client.transact(txn)
    port = await _reconfigured_port(server)
    async with Client(server.database, [f"tcp:127.0.0.1:{port}"], probe_interval_ms=0) as client:
        await client.wait_connected(timeout_s=5)
        states = client.state_changes()
        assert (await anext(states)).connected
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3.0):
                await anext(states)
        await states.aclose()
        await client.echo(timeout_s=2)


async def _reconfigured_port(server: OvsdbServer) -> int:
    from tests.ovsdb.servers import free_port

    port = free_port()
    async with Client(server.database, [server.unix]) as client:
        await client.wait_connected(timeout_s=5)
        txn = Transaction()
        txn.update("Connection", {"target": f"ptcp:{port}:127.0.0.1", "inactivity_probe": 1000}, where=[])
        await client.transact(txn)
    await server.appctl("ovsdb-server/add-remote", f"db:{server.database},NB_Global,connections")
    return port


async def test_calls_run_side_by_side_and_get_their_own_answers(client):
    names = {f"s{number}" for number in range(50)}
    await asyncio.gather(*(add_switch(client, name) for name in names))
    assert await switches(client) == names


async def test_a_database_that_is_taken_away_ends_the_connection(server, client):
    await server.appctl("ovsdb-server/remove-db", server.database)
    await eventually(lambda: not client.connected, within_s=5)
    with pytest.raises(DeadlineExceeded, match="does not serve"):
        await client.wait_connected(timeout_s=0.3)
    await server.appctl("ovsdb-server/add-db", str(server.file))
    await client.wait_connected(timeout_s=5)


async def test_probing_a_server_tells_its_databases_without_choosing(server):
    (row,) = await probe_server(server.remote, timeout_s=5)
    assert (row.name, row.model, row.connected, row.leader, row.cid) == (
        server.database,
        "standalone",
        True,
        True,
        None,
    )
    assert row.has_schema
    with pytest.raises(NotConnected, match="refused"):
        await probe_server("tcp:127.0.0.1:1", timeout_s=5)


async def test_raw_calls_return_results_and_raise_the_servers_error(server, client):
    assert server.database in await client.call("list_dbs", [], timeout_s=5)
    with pytest.raises(CallError, match="unknown method"):
        await client.call("no_such_method", [], timeout_s=5)


async def test_unixctl_runs_commands_and_tells_refusal_from_absence(server, tmp_path):
    assert "ovsdb-server" in await unixctl(server.ctl, "version", timeout_s=5)
    with pytest.raises(UnixctlError, match="not a valid command"):
        await unixctl(server.ctl, "no/such", timeout_s=5)
    with pytest.raises(UnixctlError, match="no such file"):
        await unixctl(tmp_path / "none.ctl", "version", timeout_s=5)
    server.pause()
    try:
        with pytest.raises(DeadlineExceeded):
            await unixctl(server.ctl, "version", timeout_s=0.2)
    finally:
        server.resume()
