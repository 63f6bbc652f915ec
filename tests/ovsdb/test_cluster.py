from __future__ import annotations

import asyncio
import shutil
import uuid

import pytest
from tests.ovsdb.servers import OvsdbServer, free_port
from tests.waiting import eventually

from ovenbird.ovsdb import (
    Client,
    ConnectionLost,
    DeadlineExceeded,
    DuplicateUuid,
    NotConnected,
    Replica,
    Transaction,
)
from ovenbird.ovsdb.client import HANDSHAKE_S


async def add_switch(client: Client, name: str) -> None:
    txn = Transaction()
    txn.insert("Logical_Switch", {"name": name})
    await client.transact(txn)


async def test_a_client_finds_the_leader_follows_it_and_its_replica_goes_on_by_deltas(cluster):
    async with (
        Client(cluster.database, cluster.remotes) as client,
        Replica(client, {"Logical_Switch": ["name"]}) as replica,
    ):
        await client.wait_connected(timeout_s=10)
        first = await cluster.leader()
        assert client.remote == first.remote
        assert client.server is not None
        assert client.server.leader
        assert client.server.model == "clustered"
        for number in range(3):
            await add_switch(client, f"s{number}")
        await replica.ready(timeout_s=5)
        changes = replica.changes()
        assert len((await anext(changes)).rows) == 3

        await first.kill()
        await eventually(lambda: client.connected and client.remote != first.remote, within_s=15)
        second = await cluster.leader(besides=first)
        assert client.remote == second.remote
        await add_switch(client, "after")
        change_set = await anext(changes)
        assert [change.new["name"] for change in change_set.rows if change.new] == ["after"]
        assert not change_set.resync, "ids are those of the RAFT log: any member knows what we missed"
        assert {row["name"] for row in replica.table("Logical_Switch").values()} == {"s0", "s1", "s2", "after"}


async def test_a_leader_that_wakes_up_deposed_is_left_at_once_by_those_who_want_the_leader(cluster):
    leader = await cluster.leader()
    async with (
        Client(cluster.database, cluster.remotes, probe_interval_ms=0) as client,
        Client(cluster.database, [leader.remote], leader_only=False, probe_interval_ms=0) as loyal,
    ):
        await client.wait_connected(timeout_s=10)
        await loyal.wait_connected(timeout_s=10)
        leader.pause()
        try:
            await cluster.leader(besides=leader)
        finally:
            leader.resume()
        await eventually(lambda: client.connected and client.remote != leader.remote, within_s=15)
        assert client.reasons.get(leader.remote) in {"not the leader", "disconnected from its cluster's majority"}
        await loyal.wait_connected(timeout_s=5)
        assert loyal.remote == leader.remote
        await add_switch(loyal, "a follower forwards")


async def test_a_silent_leader_is_left_as_soon_as_another_leads(cluster):
    """Long before its probes would tell; what was under way there does not have to wait for its own deadline either."""
    leader = await cluster.leader()
    async with Client(cluster.database, cluster.remotes, probe_interval_ms=60_000) as client:
        await client.wait_connected(timeout_s=10)
        leader.pause()
        try:
            with pytest.raises(ConnectionLost, match="will do"):
                await client.call("echo", [], timeout_s=30)
            second = await cluster.leader(besides=leader)
            await eventually(lambda: client.remote == second.remote, within_s=5)
            await add_switch(client, "after")
        finally:
            leader.resume()


async def test_a_silent_leader_is_kept_while_nobody_else_leads(cluster):
    """It may be busy, and to leave it would cost its locks."""
    leader = await cluster.leader()
    follower = next(member for member in cluster.members if member is not leader)
    async with Client(cluster.database, cluster.remotes, probe_interval_ms=60_000) as client:
        await client.wait_connected(timeout_s=10)
        session = client.session
        assert session is not None
        follower.pause()
        leader.pause()
        try:
            await eventually(lambda: session.connection.silent_s > 4, within_s=10)
            assert client.session is session
        finally:
            leader.resume()
            follower.resume()


async def test_a_leader_that_hangs_does_not_keep_its_clients_from_the_next_one(cluster):
    """Like a host that lost its power: connections to it neither succeed nor fail."""
    leader = await cluster.leader()
    async with Client(cluster.database, cluster.remotes, probe_interval_ms=200) as client:
        await client.wait_connected(timeout_s=10)
        leader.pause()
        try:
            await eventually(lambda: not client.connected, within_s=5)
            second = await cluster.leader(besides=leader)
            await client.wait_connected(timeout_s=HANDSHAKE_S / 2)
            assert client.remote == second.remote
        finally:
            leader.resume()


async def test_only_the_leader_will_do_and_the_reasons_are_told(cluster):
    leader = await cluster.leader()
    followers = [member.remote for member in cluster.members if member is not leader]
    async with Client(cluster.database, followers) as client:
        with pytest.raises(DeadlineExceeded) as caught:
            await client.wait_connected(timeout_s=1)
    for remote in followers:
        assert f"{remote}: not the leader" in str(caught.value)


async def test_another_cluster_is_refused(cluster):
    wanted = str(uuid.uuid4())
    cluster_id = await cluster.cluster_id()
    async with Client(cluster.database, cluster.remotes, cluster_id=wanted) as client:
        with pytest.raises(DeadlineExceeded, match=f"wrong cluster: it has {cluster_id}, expected {wanted}"):
            await client.wait_connected(timeout_s=1)
        client.expect_cluster(cluster_id)
        await client.wait_connected(timeout_s=5)
        client.expect_cluster(wanted)
        await eventually(lambda: not client.connected, within_s=5)


async def test_a_server_that_was_set_back_is_refused_until_the_operator_knows():
    create = ("create-cluster", f"tcp:127.0.0.1:{free_port()}")
    async with OvsdbServer(create=create) as server, Client(server.database, [server.remote]) as client:
        await client.wait_connected(timeout_s=10)
        await add_switch(client, "old")
        backup = server.directory / "backup"
        shutil.copy(server.file, backup)
        for number in range(5):
            await add_switch(client, f"new{number}")
        newest = client.server
        assert newest is not None
        await server.kill()
        shutil.copy(backup, server.file)
        await server.start()
        await eventually(lambda: "stale" in client.state.reason, within_s=10)
        with pytest.raises(DeadlineExceeded, match="already seen"):
            await client.wait_connected(timeout_s=0.5)
        client.expect_cluster(None)
        await client.wait_connected(timeout_s=5)
        assert client.server is not None
        assert client.server.index is not None
        assert newest.index is not None
        assert client.server.index < newest.index


async def test_a_member_without_its_majority_is_refused(cluster):
    leader = await cluster.leader()
    followers = [member for member in cluster.members if member is not leader]
    async with Client(cluster.database, [leader.remote], leader_only=False) as client:
        await client.wait_connected(timeout_s=10)
        await asyncio.gather(*(follower.kill() for follower in followers))
        await eventually(lambda: not client.connected, within_s=15)
        await eventually(lambda: "disconnected from its cluster's majority" in client.state.reason, within_s=5)


async def test_acknowledged_writes_survive_a_killed_leader_and_retries_make_no_second_row(cluster):
    """At-least-once made harmless: the row's UUID is the client's choice."""
    wanted = {str(uuid.uuid4()): f"n{number}" for number in range(60)}
    leader = await cluster.leader()
    async with Client(cluster.database, cluster.remotes) as client:
        await client.wait_connected(timeout_s=10)
        for number, (row, name) in enumerate(wanted.items()):
            if number == 20:
                await leader.kill()
            while True:
                txn = Transaction()
                txn.insert("Logical_Switch", {"name": name}, uuid=row)
                try:
                    await client.transact(txn, timeout_s=5)
                except DuplicateUuid:
                    pass
                except (ConnectionLost, NotConnected, DeadlineExceeded):
                    await client.wait_connected(timeout_s=15)
                    continue
                break
        txn = Transaction()
        txn.select("Logical_Switch", columns=["name"])
        rows = (await client.transact(txn)).rows(0)
    assert {row.uuid: row["name"] for row in rows} == wanted
