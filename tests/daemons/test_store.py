"""The declared state on a real RAFT cluster: all or nothing, once, and a clear word when nobody can be asked."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.controller_bench import CLUSTER, Databases, databases, documents, network, port
from tests.raft_cluster import run
from tests.waiting import eventually

from ovenbird.controller.events import APPLY_OUTCOME_RESOLVED, Events
from ovenbird.controller.store import Store
from ovenbird.model.cluster import Database
from ovenbird.model.errors import Refused, Timeout, Unavailable, UserError
from ovenbird.model.objects import Key
from ovenbird.ovsdb import Client, ConnectionLost, Result, Transaction

pytestmark = pytest.mark.daemons


@pytest.fixture
def dbs(tmp_path: Path) -> Iterator[Databases]:
    with databases(tmp_path, only=(Database.OVENBIRD,)) as found:
        yield found


def store_of(dbs: Databases, node: str = "c1") -> Store:
    return Store(CLUSTER, Events(node), remotes=dbs.remotes[Database.OVENBIRD])


@pytest.fixture
async def store(dbs: Databases) -> AsyncIterator[Store]:
    async with store_of(dbs) as found:
        await found.ready(10)
        yield found


async def stored(dbs: Databases) -> list[str]:
    remotes = ",".join(dbs.remotes[Database.OVENBIRD])
    command = ("ovsdb-client", "-t", "8", "dump", remotes, "Ovenbird", "Object", "name")

    async def dumped() -> str:
        # One that has just woken up may have no leader to answer for.
        with contextlib.suppress(subprocess.CalledProcessError):
            return await asyncio.to_thread(run, *command)
        return ""

    return sorted((await eventually(dumped, within_s=30)).split()[4:])


async def test_two_writers_never_overwrite_each_other(dbs: Databases) -> None:
    async with store_of(dbs, "c1") as one, store_of(dbs, "c2") as two:
        await one.ready(10)
        await two.ready(10)
        await one.apply(documents(network("blue", "10.0.0.0/24")))
        applies = [
            (one, two)[number % 2].apply(documents(port(f"vm{number}", "blue")), timeout_s=30) for number in range(20)
        ]
        outcomes = await asyncio.gather(*applies)
        assert sorted(outcome.revision for outcome in outcomes) == list(range(2, 22))
        await eventually(lambda: one.revision == two.revision == 21, within_s=5)
        ports = [each.assigned.address for each in one.inventory.of_kind("Port").values()]
        assert len(ports) == len(set(ports)) == 20


async def test_nothing_is_refused_because_of_what_another_host_has_just_changed(dbs: Databases) -> None:
    """What one host acknowledged is known to the next call, whichever host is asked."""
    async with store_of(dbs, "c1") as one, store_of(dbs, "c2") as two:
        await one.ready(10)
        await two.ready(10)
        for number in range(20):
            here, there = (one, two)[:: 1 if number % 2 else -1]
            blue, vm = network(f"n{number}", f"10.0.{number}.0/24"), port(f"vm{number}", f"n{number}")
            await here.apply(documents(blue))
            await there.apply(documents(vm))
            shown = await here.apply(documents(vm), dry_run=True)
            assert [change.action for change in shown.changes] == ["unchanged"]
            await here.delete([Key("Port", f"vm{number}")])
            assert (await there.apply(documents(vm))).changes[0].action == "create"


async def test_a_file_with_one_bad_object_changes_nothing(store: Store) -> None:
    with pytest.raises(UserError) as error:
        await store.apply(documents(network("blue", "10.0.0.0/24"), port("vm1", "nowhere")))
    assert "nowhere" in error.value.problems[0].message
    assert store.revision == 0
    assert len(store.inventory) == 0


async def test_without_a_majority_the_answer_comes_soon_and_says_why(dbs: Databases, store: Store) -> None:
    await store.apply(documents(network("blue", "10.0.0.0/24")))
    members = dbs[Database.OVENBIRD].members
    leader = await asyncio.to_thread(dbs[Database.OVENBIRD].leader)
    follower = next(each for each in members if each is not leader)
    follower.kill()
    leader.kill()
    await eventually(lambda: not store.synced, within_s=5)
    started_s = time.monotonic()
    with pytest.raises(Unavailable) as error:
        await store.apply(documents(port("vm1", "blue")), timeout_s=4)
    assert time.monotonic() - started_s < 12
    assert error.value.exit_status == 69
    for member in members:
        assert f"{member.remote}: " in error.value.evidence
    assert "disconnected" in error.value.evidence or "not the leader" in error.value.evidence
    assert "not tried yet" not in error.value.evidence
    # Reading goes on with what is known; writing does when the majority is back.
    assert store.inventory.get(Key("Network", "blue")) is not None
    leader.start()
    await eventually(lambda: store.synced, within_s=20)
    assert (await store.apply(documents(port("vm1", "blue")))).revision == 2


async def test_a_hung_server_leaves_the_outcome_unknown_and_says_so(dbs: Databases, store: Store) -> None:
    await store.apply(documents(network("blue", "10.0.0.0/24")))
    members = dbs[Database.OVENBIRD].members
    try:
        for member in members:
            member.signal(signal.SIGSTOP)
        with pytest.raises(Timeout) as error:
            await store.apply(documents(port("vm1", "blue")), timeout_s=2)
        assert error.value.code == "outcome_unknown"
    finally:
        for member in members:
            member.signal(signal.SIGCONT)
    await eventually(lambda: store.synced, within_s=30)
    # Applying again is right whether it was committed or not.
    await store.apply(documents(port("vm1", "blue")), timeout_s=20)
    assert store.revision == 2
    assert await stored(dbs) == ["blue", "vm1"]


@pytest.mark.parametrize("committed", [True, False])
async def test_a_lost_answer_is_found_out_and_never_doubled(
    dbs: Databases, store: Store, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    """The connection ends before the answer comes: once after the commit, once before the request arrived."""
    await store.apply(documents(network("blue", "10.0.0.0/24")))
    transact, losses = Client.transact, iter([True])

    async def losing(self: Client, txn: Transaction, *, timeout_s: float = 10.0, **options: Any) -> Result:
        if next(losses, False):
            if committed:
                await transact(self, txn, timeout_s=timeout_s, **options)
            session = self.session
            assert session is not None
            session.connection.abort("cut by the test")
            raise ConnectionLost("cut by the test")
        return await transact(self, txn, timeout_s=timeout_s, **options)

    monkeypatch.setattr(Client, "transact", losing)
    outcome = await store.apply(documents(port("vm1", "blue"), port("vm2", "blue")))
    assert [change.action for change in outcome.changes] == ["create", "create"]
    assert outcome.revision == store.revision == 2
    assert store.events.counts[APPLY_OUTCOME_RESOLVED] == committed
    assert await stored(dbs) == ["blue", "vm1", "vm2"]


async def test_another_clusters_database_is_refused(dbs: Databases, store: Store) -> None:
    async with Store(replace(CLUSTER, name="other"), Events("c9"), remotes=dbs.remotes[Database.OVENBIRD]) as foreign:
        with pytest.raises(Refused, match="belongs to cluster 'test', not to 'other'") as error:
            await foreign.ready(10)
        assert error.value.code == "wrong_cluster"
        with pytest.raises(Refused):
            await foreign.apply(documents(network("blue", "10.0.0.0/24")))
        assert foreign.epoch is None
    assert store.revision == 0


async def test_everybody_founds_and_there_is_one_cluster(dbs: Databases) -> None:
    async with contextlib.AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(store_of(dbs, f"c{n}")) for n in range(4)]
        await asyncio.gather(*(each.ready(10) for each in stores))
        assert {each.state.cluster for each in stores} == {stores[0].state.cluster}


async def test_no_acknowledged_change_is_lost_or_doubled_when_leaders_are_killed(tmp_path: Path) -> None:
    """Applies go on while the leader of each database is killed with -9 in turn."""
    with databases(tmp_path) as dbs:
        async with dbs.candidate("c1") as one, dbs.candidate("c2") as two:
            await one.store.ready(10)
            await two.store.ready(10)
            await one.store.apply(documents(network("blue", "10.0.0.0/24")))
            acknowledged: dict[str, int] = {}

            async def load(service: Store, name: str) -> None:
                for number in range(40):
                    outcome = await service.apply(documents(port(f"{name}-{number}", "blue")), timeout_s=30)
                    acknowledged[f"{name}-{number}"] = outcome.revision

            async def kill(database: Database, after: int) -> None:
                await eventually(lambda: len(acknowledged) >= after, within_s=60, every_s=0.005)
                leader = await asyncio.to_thread(dbs[database].leader)
                leader.kill()
                await asyncio.to_thread(dbs[database].leader)
                leader.start()

            async with asyncio.TaskGroup() as group:
                group.create_task(load(one.store, "one"))
                group.create_task(load(two.store, "two"))
                group.create_task(kill(Database.NB, 10))
                group.create_task(kill(Database.OVENBIRD, 30))
            assert len(acknowledged) == 80
            # One revision per acknowledged change, none used twice, none made on the way.
            assert sorted(acknowledged.values()) == list(range(2, 82))
            assert await stored(dbs) == sorted([*acknowledged, "blue"])
            await eventually(lambda: one.nb.last_control.revision == 81, within_s=30)
            assert await dbs.column("Logical_Switch_Port", "name") == sorted(acknowledged)
