from __future__ import annotations

import asyncio

import pytest
from tests.ovsdb.servers import OvsdbServer
from tests.waiting import eventually

from ovenbird.ovsdb import Client, DeadlineExceeded, NotConnected, NotOwner, Transaction


async def pair(stack, server: OvsdbServer) -> tuple[Client, Client]:
    clients = []
    for _ in range(2):
        client = await stack.enter_async_context(Client(server.database, [server.unix]))
        await client.wait_connected(timeout_s=5)
        clients.append(client)
    return clients[0], clients[1]


@pytest.fixture
async def two(server):
    from contextlib import AsyncExitStack

    async with AsyncExitStack() as stack:
        yield await pair(stack, server)


def asserting(name: str) -> Transaction:
    txn = Transaction()
    txn.assert_lock(name)
    return txn


async def test_the_first_holds_the_second_gets_it_on_release(two):
    first, second = two[0].lock("L"), two[1].lock("L")
    await first.acquire(timeout_s=5)
    assert not await second.request()
    await two[0].transact(asserting("L"))
    with pytest.raises(NotOwner):
        await two[1].transact(asserting("L"))
    waiting = asyncio.create_task(second.changed())
    await first.release()
    assert await asyncio.wait_for(waiting, 5)
    assert (first.held, second.held) == (False, True)
    await two[1].transact(asserting("L"))


async def test_a_stolen_lock_is_told_to_its_victim_and_comes_back(two):
    first, second = two[0].lock("L"), two[1].lock("L")
    await first.acquire(timeout_s=5)
    waiting = asyncio.create_task(first.changed())
    await second.steal()
    assert second.held
    assert not await asyncio.wait_for(waiting, 5)
    with pytest.raises(NotOwner):
        await two[0].transact(asserting("L"))
    await second.release()
    await eventually(lambda: first.held, within_s=5)


async def test_stealing_works_while_queueing_too(two):
    first, second = two[0].lock("L"), two[1].lock("L")
    await first.acquire(timeout_s=5)
    await second.request()
    await second.steal()
    assert second.held
    await eventually(lambda: not first.held, within_s=5)


async def test_giving_up_the_wait_gives_up_the_place_in_the_queue(two):
    first, second = two[0].lock("L"), two[1].lock("L")
    await first.acquire(timeout_s=5)
    with pytest.raises(DeadlineExceeded):
        await second.acquire(timeout_s=0.1)
    waiting = asyncio.create_task(second.acquire())
    await two[1].echo(timeout_s=5)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await first.release()
    await two[1].echo(timeout_s=5)
    assert not second.held
    with pytest.raises(NotOwner):
        await two[1].transact(asserting("L"))


async def test_a_lock_is_lost_with_the_connection_and_asked_for_again(server, two):
    first = two[0].lock("L")
    await first.acquire(timeout_s=5)
    lost = asyncio.create_task(first.changed())
    await server.kill()
    assert not await asyncio.wait_for(lost, 5)
    await server.start()
    await eventually(lambda: first.held, within_s=10)
    await two[0].transact(asserting("L"))


async def test_a_released_lock_is_not_asked_for_after_a_reconnect(server, two):
    first = two[0].lock("L")
    await first.acquire(timeout_s=5)
    await first.release()
    await server.kill()
    await eventually(lambda: not two[0].connected, within_s=5)
    await server.start()
    await two[0].wait_connected(timeout_s=10)
    second = two[1].lock("L")
    await second.acquire(timeout_s=10)
    assert not first.held


async def test_a_lock_can_be_wanted_before_there_is_a_server():
    async with OvsdbServer() as server:
        await server.kill()
        async with Client(server.database, [server.unix]) as client:
            lock = client.lock("L")
            with pytest.raises(NotConnected):
                await lock.steal()
            waiting = asyncio.create_task(lock.acquire(timeout_s=10))
            await asyncio.sleep(0)
            await server.start()
            await waiting
            assert lock.held
