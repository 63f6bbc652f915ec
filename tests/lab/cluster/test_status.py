"""What the CLI says of a whole cluster that is well, wounded and down: verdicts, exit codes, culprits by name."""

from __future__ import annotations

import re
import time

import pytest
from tests.faces.command import Done
from tests.lab.cluster.site import ADDRESS, CENTRALS, CHASSIS, DECLARED, DISTRIBUTED, LAB_FILE, OUTSIDE, Site, ping
from tests.waiting import eventually_sync

from ovenbird.drill.load import Load, Stream
from ovenbird.drill.outage import largest
from ovenbird.lab.faults import Kill, Stop
from ovenbird.plan.realised import DEAD_AFTER_S

pytestmark = pytest.mark.lab
HEALTHY, DEGRADED, DOWN, UNAVAILABLE, NOT_DONE = 0, 4, 5, 69, 75


def everything(site: Site) -> dict[str, dict[str, int]]:
    """Pids of all daemons, agents included, by node."""
    return {node.name: {name: process.pid for name, process in node.pids().items()} for node in site.lab.nodes.values()}


def test_lab_up_again_changes_nothing(site: Site, tmp_path) -> None:
    before = everything(site)
    file = tmp_path / "lab.yaml"
    file.write_text(LAB_FILE)
    for words in ([], ["--file", str(file)]):
        done = site.cli("lab", "up", "--name", site.lab.name, *words)
        assert done.status == 0, done.err
        assert [line.partition("s  ")[2] for line in done.err.splitlines()] == [f"lab {site.lab.name} is ready"]
    assert everything(site) == before


def test_apply_again_changes_nothing(site: Site) -> None:
    def dump(database: str, socket: str) -> str:
        argv = ["ovsdb-client", "--timeout=5", "dump", f"unix:{socket}", database]
        return site.lab.node("c1").run(argv, timeout_s=10).checked(subject=database).stdout

    def northbound() -> str:
        tables = dump("OVN_Northbound", "/run/ovn/ovnnb_db.sock").partition("NB_Global table")
        # Two things move by themselves: NB_Global counts waits, and the acting controller's mark has a pulse.
        text = re.sub(r'ovenbird-beat="\d+"', "", tables[0] + tables[2].partition(" table\n")[2])
        return re.sub(r" {2,}|-{2,}", " ", text)  # columns are as wide as the pulse's digits

    before, revision = northbound(), site.api.get("/v1/objects")["revision"]
    assert "192.168.1.13" in before
    for _ in range(2):
        done = site.cli("apply", "-f", "-", "-o", "json", given=DECLARED)
        assert done.status == 0, done.err
        assert {change["action"] for change in done.json["changes"]} == {"unchanged"}
        assert done.json["revision"] == revision
    assert site.cli("wait").status == 0
    assert northbound() == before
    assert site.cli("plan", "--exit-code", "-f", "-", given=DECLARED).status == 0


def chassis_states(done: Done) -> dict[str, str]:
    return {one["name"]: one["state"] for one in done.json["chassis"]}


def test_wait_is_done_or_names_the_chassis_that_lags(breakable: Site) -> None:
    site = breakable
    done = site.cli("wait", "-o", "json")
    assert done.status == 0
    assert chassis_states(done) == dict.fromkeys(CHASSIS, "done")

    fault = Stop(lab=site.lab, node="n1", daemon="ovn-controller")
    fault.inject()
    fault.verify_injected()
    late = site.cli("wait", "--timeout", "2", "-o", "json")
    assert late.status == NOT_DONE
    assert chassis_states(late) == dict.fromkeys(CHASSIS, "done") | {"n1": "lagging"}
    told = site.cli("wait", "--timeout", "2")
    assert told.status == NOT_DONE
    assert "n1 lagging" in told.err
    fault.heal()
    assert site.cli("wait", "--timeout", "20").status == 0


def test_wait_calls_a_host_without_power_dead_and_does_not_hang(breakable: Site) -> None:
    site = breakable
    site.lab.power_off("n1")
    limit_s = DEAD_AFTER_S * 2
    done = site.cli("wait", "--timeout", str(limit_s), "-o", "json")
    assert done.status == DEGRADED, done.out
    assert chassis_states(done) == dict.fromkeys(CHASSIS, "done") | {"n1": "dead"}
    assert done.json["error"]["code"] == "dead_chassis"


def members(site: Site, done: Done, host: str) -> set[str]:
    """States of a host's members of the databases."""
    return {
        member["state"]
        for one in done.json["databases"].values()
        for member in one["members"]
        if member["host"] == host
    }


def test_status_while_central_hosts_lose_their_power_one_by_one(breakable: Site) -> None:
    site = breakable

    def status() -> Done:
        return site.cli("status", "-o", "json")

    assert status().status == HEALTHY
    leader = status().json["databases"]["nb"]["leader"]
    others = [name for name in CENTRALS if name != leader]

    site.lab.power_off(leader)

    def degraded() -> Done | None:
        done = status()
        assert done.status == DEGRADED, done.out + done.err
        found = done.json["databases"]
        assert all(one["leader"] in others and one["quorum"] for one in found.values())
        return done

    done = eventually_sync(degraded, within_s=30)
    assert members(site, done, leader) == {"unknown"}, "no host answers: whether its members live is not known"
    assert site.cli("apply", "-f", "-", given=DECLARED).status == 0

    site.lab.power_off(others[0])

    def down() -> Done | None:
        done = status()
        assert done.status == DOWN, done.out + done.err
        assert all(one["verdict"] == "down" for one in done.json["databases"].values())
        return done

    done = eventually_sync(down, within_s=30)
    assert done.json["observer"] == others[1]
    assert members(site, done, leader) == members(site, done, others[0]) == {"unknown"}
    assert members(site, done, others[1]) == {"disconnected"}
    rules = {one["rule"] for one in done.json["reasons"] if one["verdict"] == "down"}
    assert rules <= {"database.cut_off", "database.no_quorum"}
    assert done.json["routers"] is None or all(one["active"] is None for one in done.json["routers"])
    refused = site.cli("apply", "-f", "-", given="kind: Network\nname: never\nspec: {cidr: 10.9.0.0/24}\n")
    assert refused.status == UNAVAILABLE, refused.err

    site.lab.power_off(others[1])
    assert status().status == UNAVAILABLE

    for name in CENTRALS:
        site.lab.power_on(name)
    eventually_sync(lambda: status().status == HEALTHY, within_s=60)
    assert "never" not in {one["name"] for one in site.api.get("/v1/objects")["objects"]}


def test_packets_flow_and_gateways_fail_over_without_any_agent(breakable: Site) -> None:
    site = breakable
    observer, active, standby = "c1", site.active("r1"), site.standby("r1")
    streams = [
        Stream(name="snat", node="n1", workload="vm1", target=OUTSIDE),
        Stream(name="east-west", node="n1", workload="vm1", target=ADDRESS["vm2"]),
        Stream(name="from-outside", node="outside", workload="", target=DISTRIBUTED),
    ]
    with Load(site.lab, streams, interval_ms=20) as load:
        for name in site.lab.nodes.keys() - {observer}:
            fault = Kill(lab=site.lab, node=name, daemon="agent")
            fault.inject()
            fault.verify_injected()

        def unheard() -> Done:
            done = site.cli("status", "-o", "json")
            assert done.status == DEGRADED
            silent = {one["subject"] for one in done.json["reasons"] if one["rule"] == "chassis.agent_silent"}
            assert silent == set(CHASSIS)
            return done

        done = eventually_sync(unheard, within_s=40)
        assert all(one["active"] for one in done.json["routers"]), "OVN itself still tells who carries them"
        last = Kill(lab=site.lab, node=observer, daemon="agent")
        last.inject()
        last.verify_injected()
        assert site.cli("status").status == UNAVAILABLE

        # Nor does a gateway's loss need an agent: the standby's ovn-controller sees it by BFD.
        fault_ns = time.time_ns()
        site.lab.power_off(active)
        eventually_sync(lambda: site.bound_to("cr-r1_public") == standby, within_s=15)
        eventually_sync(lambda: ping(site.workload("vm1"), OUTSIDE), within_s=10)
        end_ns = time.time_ns()
        records = {record.name: record for record in load.stop()[0]}
    for record in records.values():
        assert len(record.sent) > 500, record.name
        assert record.delivered_ratio(0, fault_ns) >= 0.99, record.name
    assert records["east-west"].delivered_ratio(fault_ns, end_ns) >= 0.9
    assert 0 < largest(records["snat"], fault_ns, end_ns).ms < 5000
