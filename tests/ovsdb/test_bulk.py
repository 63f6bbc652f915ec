"""Great transactions have a connection of their own, and everything else stays on the one with the monitors."""

from __future__ import annotations

from tests.ovsdb.servers import OvsdbServer
from tests.waiting import eventually

from ovenbird.ovsdb import Client, Replica, Transaction
from ovenbird.ovsdb.client import BULK_BYTES

BULK = 3


def great(name: str) -> Transaction:
    txn = Transaction()
    for number in range(BULK):
        txn.insert("Logical_Switch", {"name": f"{name}{number}"})
    return txn


async def test_a_great_transaction_is_committed_and_comes_to_the_replica(server: OvsdbServer) -> None:
    async with (
        Client(server.database, [server.unix], bulk_operations=BULK) as client,
        Replica(client, {"Logical_Switch": ["name"]}) as replica,
    ):
        await replica.ready(timeout_s=5)
        session = client.session
        assert session is not None
        assert session.bulk is not None
        result = await client.transact(great("a"))
        assert len({result.uuid(number) for number in range(BULK)}) == BULK
        await eventually(lambda: len(replica.table("Logical_Switch")) == BULK, within_s=10)
        small = Transaction()
        row = small.insert("Logical_Switch", {"name": "small"})
        await client.transact(small)
        assert replica.table("Logical_Switch")[row]["name"] == "small", "a small one is there before its reply"


async def test_a_lock_can_be_asserted_however_great_the_transaction(server: OvsdbServer) -> None:
    async with Client(server.database, [server.unix], bulk_operations=BULK) as client:
        await client.wait_connected(timeout_s=5)
        await client.lock("mine").acquire(timeout_s=5)
        txn = great("a")
        txn.assert_lock("mine")
        await client.transact(txn)


async def test_when_either_connection_ends_both_are_made_anew(server: OvsdbServer) -> None:
    async with (
        Client(server.database, [server.unix], bulk_operations=BULK) as client,
        Replica(client, {"Logical_Switch": ["name"]}) as replica,
    ):
        await replica.ready(timeout_s=5)
        for which in (0, 1):
            before = client.session
            assert before is not None
            before.connections[which].abort("test")
            after = await client.session_after(before)
            assert not set(after.connections) & set(before.connections)
            await client.transact(great(f"{which}-"))
        await eventually(lambda: len(replica.table("Logical_Switch")) == 2 * BULK, within_s=10)


async def test_news_can_be_held_while_great_transactions_are_answered(server: OvsdbServer) -> None:
    async with (
        Client(server.database, [server.unix], bulk_operations=BULK) as client,
        Replica(client, {"Logical_Switch": ["name"]}) as replica,
    ):
        await replica.ready(timeout_s=5)
        client.hold_news(60)
        await client.transact(great("a"))
        await client.transact(great("b"))
        assert not replica.table("Logical_Switch")
        client.release_news()
        await eventually(lambda: len(replica.table("Logical_Switch")) == 2 * BULK, within_s=10)


async def test_one_operation_with_a_great_value_is_great(server: OvsdbServer) -> None:
    async with (
        Client(server.database, [server.unix], bulk_operations=BULK) as client,
        Replica(client, {"Logical_Switch": ["name", "external_ids"]}) as replica,
    ):
        await replica.ready(timeout_s=5)
        client.hold_news(60)
        txn = Transaction()
        row = txn.insert("Logical_Switch", {"name": "a", "external_ids": {"much": "x" * BULK_BYTES}})
        await client.transact(txn)
        assert not replica.table("Logical_Switch")
        client.release_news()
        await eventually(lambda: row in replica.table("Logical_Switch"), within_s=10)


async def test_held_news_comes_by_itself_when_nobody_releases_it(server: OvsdbServer) -> None:
    async with (
        Client(server.database, [server.unix], bulk_operations=BULK) as client,
        Replica(client, {"Logical_Switch": ["name"]}) as replica,
    ):
        await replica.ready(timeout_s=5)
        client.hold_news(0.05)
        await client.transact(great("a"))
        await eventually(lambda: len(replica.table("Logical_Switch")) == BULK, within_s=10)
