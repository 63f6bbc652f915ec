"""Waiting for chassis, with a real northd: done, lagging or dead, always with an answer in time."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.controller_bench import CLUSTER, Databases, databases, documents, network
from tests.raft_cluster import run
from tests.waiting import eventually

from ovenbird.model.cluster import Database
from ovenbird.model.errors import Unavailable
from ovenbird.ovsdb import Client, Transaction
from ovenbird.plan.realised import Realised
from ovenbird.plan.rows import row_uuid

pytestmark = pytest.mark.daemons

ONE_CHASSIS = replace(CLUSTER, hosts=tuple(host for host in CLUSTER.hosts if not host.is_chassis or host.name == "h1"))
NO_CHASSIS = replace(CLUSTER, hosts=CLUSTER.centrals)


@pytest.fixture
def dbs(tmp_path: Path) -> Iterator[Databases]:
    # One member each: what is tested here is not RAFT.
    with databases(tmp_path, size=1, only=tuple(Database)) as found:
        nb, sb = (found[database].members[0].remote for database in (Database.NB, Database.SB))
        command = ["ovn-northd", f"--ovnnb-db={nb}", f"--ovnsb-db={sb}", f"--unixctl={tmp_path / 'northd.ctl'}"]
        command += ["-vconsole:off", f"--log-file={tmp_path / 'northd.log'}"]
        northd = subprocess.Popen(command, env={"OVN_RUNDIR": str(tmp_path), "PATH": "/usr/bin:/usr/sbin"})
        try:
            yield found
        finally:
            northd.kill()
            northd.wait(timeout=10)


async def sbctl(dbs: Databases, *command: str) -> str:
    return await asyncio.to_thread(run, "ovn-sbctl", "-t", "8", f"--db={dbs.remotes[Database.SB][0]}", *command)


async def add_chassis(dbs: Databases, name: str) -> str:
    await sbctl(dbs, "chassis-add", name, "geneve", "192.0.2.21")
    return (await sbctl(dbs, "create", "Chassis_Private", f"name={name}")).strip()


async def report_node(dbs: Databases, name: str, *, alive: bool) -> None:
    """Write what that host's agent would."""
    async with Client("Ovenbird", dbs.remotes[Database.OVENBIRD]) as client:
        await client.wait_connected(timeout_s=5)
        txn = Transaction("the agent of the test")
        facts = json.dumps({"daemons": {"ovn-controller": {"pid": 1, "alive": alive}}})
        row = {"name": name, "heartbeat_s": int(time.time()), "facts": facts}
        txn.insert("Node", row, uuid=row_uuid("Node", name))
        await client.transact(txn)


async def test_without_chassis_it_is_done_when_sb_has_it(dbs: Databases) -> None:
    async with dbs.candidate("c1", NO_CHASSIS) as service:
        await service.store.ready(10)
        outcome = await service.store.apply(documents(network("blue", "10.0.0.0/24")))
        report = await service.realisation.wait(outcome.revision, 15)
        assert (report.state, report.revision, report.chassis) == (Realised.DONE, outcome.revision, ())
        assert report.nb_cfg > 0
        assert "blue" in await sbctl(dbs, "list", "Datapath_Binding")


async def test_a_lagging_chassis_is_named_and_then_done(dbs: Databases) -> None:
    async with dbs.candidate("c1", ONE_CHASSIS) as service:
        await service.store.ready(10)
        private = await add_chassis(dbs, "h1")
        await service.store.apply(documents(network("blue", "10.0.0.0/24")))
        started_s = time.monotonic()
        report = await service.realisation.wait(None, 3)
        assert 2.5 < time.monotonic() - started_s < 12
        assert report.state is Realised.LAGGING
        assert [(each.name, each.state) for each in report.chassis] == [("h1", Realised.LAGGING)]
        assert "h1" in report.detail
        waiting = asyncio.create_task(service.realisation.wait(None, 20))
        await sbctl(dbs, "set", "Chassis_Private", private, f"nb_cfg={report.nb_cfg + 1}")
        done = await waiting
        assert (done.state, done.nb_cfg) == (Realised.DONE, report.nb_cfg + 1)
        assert done.to_json()["chassis"][0]["state"] == "done"


async def test_a_dead_chassis_does_not_hold_up_the_answer(dbs: Databases) -> None:
    async with dbs.candidate("c1", ONE_CHASSIS) as service:
        await service.store.ready(10)
        await add_chassis(dbs, "h1")
        await report_node(dbs, "h1", alive=False)
        await service.store.apply(documents(network("blue", "10.0.0.0/24")))
        started_s = time.monotonic()
        report = await service.realisation.wait(None, 60)
        assert time.monotonic() - started_s < 40
        assert report.state is Realised.DEAD
        assert "ovn-controller does not run" in report.chassis[0].detail


async def test_who_wait_together_share_a_raise(dbs: Databases) -> None:
    async with dbs.candidate("c1", NO_CHASSIS) as service:
        await service.store.ready(10)
        await service.store.apply(documents(network("blue", "10.0.0.0/24")))
        first = await service.realisation.wait(None, 15)
        reports = await asyncio.gather(*(service.realisation.wait(None, 15) for _ in range(10)))
        assert {report.state for report in reports} == {Realised.DONE}
        assert max(report.nb_cfg for report in reports) <= first.nb_cfg + 2


async def test_a_revision_that_nobody_realises_is_explained(dbs: Databases) -> None:
    async with dbs.candidate("c1", NO_CHASSIS) as service:
        await service.store.ready(10)
        report = await service.realisation.wait(99, 1)
        assert report.state is Realised.LAGGING
        assert "not yet 99" in report.detail
        assert "only 0 is declared" in report.detail
        dbs[Database.OVENBIRD].stop()
        await eventually(lambda: not service.store.synced, within_s=5)
        with pytest.raises(Unavailable):
            await service.realisation.wait(None, 2)
