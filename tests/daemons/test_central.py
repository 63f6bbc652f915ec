"""The database tier of central hosts, with real servers: one cluster per database, whatever happens at the start."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.daemons.site import DAEMONS, Site, cluster_of
from tests.waiting import eventually

from ovenbird.model.cluster import Cluster, Database, Host, Role
from ovenbird.model.cluster_file import render_cluster
from ovenbird.ovsdb import Client, Transaction
from ovenbird.process import allocator

pytestmark = pytest.mark.daemons
WHOLE_WITHIN_S = 20


@pytest.fixture
def sites() -> Iterator[list[Site]]:
    """Sites that a test makes; ended whatever happens."""
    made: list[Site] = []
    yield made
    for site in made:
        site.power_cut()


@pytest.fixture
def site(tmp_path: Path, sites: list[Site]) -> Site:
    """Three central hosts, none of them started."""
    sites.append(Site(tmp_path, cluster_of(3)))
    return sites[0]


def unix_remote(site: Site, name: str) -> str:
    return f"unix:{site.layout(name).database_run(Database.OVENBIRD)}.sock"


@pytest.mark.parametrize("round_number", range(3))
async def test_members_started_at_once_form_one_cluster_per_database(site: Site, round_number: int):
    names = ["c1", "c2", "c3"]
    random.Random(round_number).shuffle(names)
    site.start(*names)
    await eventually(site.is_whole, within_s=WHOLE_WITHIN_S)
    for database in Database:
        assert len(await site.cids(database)) == 1
    created = {name: len(site.events(name, "database.created")) for name in names}
    assert created == {"c1": 3, "c2": 0, "c3": 0}
    await eventually(lambda: not site.layout("c1").permission.exists(), within_s=5)
    assert site.layout("c1").permission.with_name("bootstrap.done").exists()


async def test_a_power_cut_of_all_hosts_keeps_cluster_and_data(site: Site):
    site.start()
    await eventually(site.is_whole, within_s=WHOLE_WITHIN_S)
    before = {database: await site.cids(database) for database in Database}
    async with Client("Ovenbird", [unix_remote(site, "c2")], leader_only=False) as client:
        await client.wait_connected(timeout_s=5)
        txn = Transaction()
        txn.insert("Object", {"kind": "Network", "name": "kept", "spec": "{}", "assigned": "{}", "revision": 1})
        await client.transact(txn)
    site.power_cut()
    site.power_on()
    site.start("c3", "c2", "c1")
    await eventually(site.is_whole, within_s=WHOLE_WITHIN_S)
    assert {database: await site.cids(database) for database in Database} == before
    async with Client("Ovenbird", [unix_remote(site, "c3")], leader_only=False) as client:
        await client.wait_connected(timeout_s=5)
        txn = Transaction()
        txn.select("Object", where=[("name", "==", "kept")])
        assert len((await client.transact(txn)).rows(0)) == 1


async def test_a_second_permission_does_not_make_a_second_cluster(site: Site):
    site.start("c1")
    await eventually(lambda: len(site.events("c1", "database.ready")) == 3, within_s=WHOLE_WITHIN_S)
    site.layout("c2").permission.touch()
    site.start("c2", "c3")
    await eventually(site.is_whole, within_s=WHOLE_WITHIN_S)
    for database in Database:
        assert len(await site.cids(database)) == 1
    assert site.events("c2", "database.created") == []


async def test_without_permission_nothing_is_created_and_the_log_says_why(tmp_path: Path, sites: list[Site]):
    site = Site(tmp_path, cluster_of(3), permitted=())
    sites.append(site)
    site.start()
    await eventually(lambda: len(site.events("c3", "database.waiting")) == 3, within_s=WHOLE_WITHIN_S)
    assert "may not create" in site.events("c3", "database.waiting")[0]["reason"]
    assert not any(site.layout(name).database_file(Database.NB).exists() for name in ("c1", "c2", "c3"))


async def test_a_host_that_cannot_be_asked_stops_creation(tmp_path: Path, sites: list[Site]):
    away = Host(name="c3", address="192.0.2.3", roles=frozenset({Role.CENTRAL}))
    site = Site(tmp_path, Cluster(name="site", hosts=(*cluster_of(2).hosts, away)))
    sites.append(site)
    site.start("c1")
    waiting = await eventually(lambda: site.events("c1", "database.waiting"), within_s=WHOLE_WITHIN_S)
    assert "could not ask c3" in waiting[0]["reason"]
    assert not site.layout("c1").database_file(Database.NB).exists()


async def test_daemons_outlive_the_agent_and_are_adopted(site: Site):
    site.start()
    await eventually(site.is_whole, within_s=WHOLE_WITHIN_S)
    await eventually(lambda: set(site.pids("c1")) == set(DAEMONS), within_s=WHOLE_WITHIN_S)
    before = site.pids("c1")
    assert site.stop_agent("c1") < 10, "no daemon was waited for"
    assert await site.is_whole()
    site.start("c1")
    await eventually(lambda: len(site.events("c1", "daemon.adopted")) == len(DAEMONS), within_s=10)
    assert site.pids("c1") == before
    assert len(site.events("c1", "daemon.started")) == len(DAEMONS)


async def test_a_killed_daemon_comes_back_and_the_others_stay(site: Site):
    site.start()
    await eventually(site.is_whole, within_s=WHOLE_WITHIN_S)
    await eventually(lambda: set(site.pids("c1")) == set(DAEMONS), within_s=WHOLE_WITHIN_S)
    before = site.pids("c1")
    site.kill_daemon("c1", "run/ovn/ovnnb_db.pid")
    killed = before["run/ovn/ovnnb_db.pid"]
    await eventually(lambda: site.pids("c1").get("run/ovn/ovnnb_db.pid", killed) != killed, within_s=5)
    await eventually(site.is_whole, within_s=WHOLE_WITHIN_S)
    after = site.pids("c1")
    assert {path: pid for path, pid in after.items() if "ovnnb" not in path} == {
        path: pid for path, pid in before.items() if "ovnnb" not in path
    }


async def test_a_changed_election_timer_reaches_every_member(site: Site):
    site.start()
    await eventually(site.is_whole, within_s=WHOLE_WITHIN_S)
    longer = Cluster(name="site", hosts=site.cluster.hosts, election_timer_ms=3000)
    for name in ("c1", "c2", "c3"):
        site.stop_agent(name)
        site.layout(name).cluster_file.write_text(render_cluster(longer))
    site.start()

    async def all_changed() -> bool:
        statuses = [await site.status(name, database) for name in ("c1", "c2", "c3") for database in Database]
        return all(status is not None and status.election_timer_ms == 3000 for status in statuses)

    await eventually(all_changed, within_s=25)


async def test_each_host_reports_itself(site: Site):
    site.start()
    async with Client("Ovenbird", [unix_remote(site, "c1")], leader_only=False) as client:
        await client.wait_connected(timeout_s=WHOLE_WITHIN_S)

        async def told() -> dict[str, tuple[str, int]]:
            txn = Transaction()
            txn.select("Node", columns=["name", "facts", "heartbeat_s"])
            return {row["name"]: (row["facts"], row["heartbeat_s"]) for row in (await client.transact(txn)).rows(0)}

        async def settled() -> bool:
            facts = [facts for facts, _ in (await told()).values()]
            actives = sum('"northd": "active"' in text for text in facts)
            return len(facts) == 3 and actives == 1 and all('"servers": 3' in text for text in facts)

        await eventually(settled, within_s=WHOLE_WITHIN_S)
        beats: list[tuple[str, int]] = []

        async def quiet() -> bool:
            """Once nothing happens any more, nothing but the heartbeat is new, and that comes every 5 s only."""
            now = (await told())["c2"]
            if not beats or now != beats[-1]:
                beats.append(now)
            return len(beats) > 1 and beats[-1][0] == beats[-2][0] and beats[-1][1] - beats[-2][1] >= 4

        await eventually(quiet, within_s=30)


def agent_says(site: Site, node: str) -> subprocess.CompletedProcess[str]:
    argv = [*site.agent_argv("c1")[:-1], node]
    return subprocess.run(site.enter(*argv), capture_output=True, text=True, timeout=20, check=False)


def test_a_host_that_the_description_does_not_name_refuses_to_start(site: Site):
    refused = agent_says(site, "stranger")
    assert refused.returncode == 2
    assert "stranger" in refused.stderr
    assert "c1 (127.8.0.1), c2 (127.8.0.2), c3 (127.8.0.3)" in refused.stderr


async def test_a_second_agent_on_a_host_refuses_to_start(site: Site):
    site.start("c1")
    await eventually(lambda: site.events("c1", "agent.started"), within_s=10)
    refused = agent_says(site, "c1")
    assert refused.returncode == 3
    assert "already runs" in refused.stderr


def test_a_host_without_its_address_refuses_to_start(tmp_path: Path, sites: list[Site]):
    hosts = (Host(name="c1", address="192.0.2.1", roles=frozenset({Role.CENTRAL})), *cluster_of(3).hosts[1:])
    site = Site(tmp_path, Cluster(name="site", hosts=hosts))
    sites.append(site)
    refused = agent_says(site, "c1")
    assert refused.returncode == 3
    assert "no interface of it carries 192.0.2.1" in refused.stderr
    assert "c2 127.8.0.2" in refused.stderr
    assert not site.layout("c1").database_file(Database.NB).exists()


async def test_servers_have_the_allocator_of_this_host(site: Site):
    site.start("c1")
    await eventually(lambda: len(site.events("c1", "database.ready")) == 3, within_s=WHOLE_WITHIN_S)
    loaded = allocator.environment().get("LD_PRELOAD", "libc.so")
    for path, pid in site.pids("c1").items():
        maps = subprocess.run(site.enter("cat", f"/proc/{pid}/maps"), check=True, timeout=5, capture_output=True)
        assert loaded in maps.stdout.decode(), path
