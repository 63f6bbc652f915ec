from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.ovsdb.servers import OvsdbCluster, OvsdbServer

from ovenbird.ovsdb import Client


@pytest_asyncio.fixture
async def server() -> AsyncIterator[OvsdbServer]:
    async with OvsdbServer() as running:
        yield running


@pytest_asyncio.fixture
async def client(server: OvsdbServer) -> AsyncIterator[Client]:
    async with Client(server.database, [server.unix]) as connected:
        await connected.wait_connected(timeout_s=5)
        yield connected


@pytest_asyncio.fixture
async def cluster() -> AsyncIterator[OvsdbCluster]:
    async with OvsdbCluster(3) as running:
        yield running


@pytest.fixture(autouse=True)
async def _no_task_is_left() -> AsyncIterator[None]:
    """Every test shows that the client cleans up: nothing that it started may outlive it."""
    before = asyncio.all_tasks()
    yield
    left = {task for task in asyncio.all_tasks() - before if not task.done() and task is not asyncio.current_task()}
    assert not left, left
