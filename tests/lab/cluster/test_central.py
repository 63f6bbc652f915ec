"""The central tier under its clients: one cluster id however it starts, clients that find another member, northd."""

from __future__ import annotations

import contextlib
import re
import signal
from typing import Any

import pytest
from tests.lab.cluster.site import CENTRALS, Site
from tests.lab.conftest import unique_name
from tests.lab.test_life import machine
from tests.waiting import eventually_sync

from ovenbird.lab.faults import Kill, Stop
from ovenbird.lab.faults.database_file import raft_status
from ovenbird.lab.faults.disk_full import DiskFull
from ovenbird.lab.lab import Lab, remove
from ovenbird.lab.readiness import wait_ready
from ovenbird.lab.spec import sized
from ovenbird.model.errors import OvenbirdError

pytestmark = pytest.mark.lab

DATABASES = {
    "/run/ovn/ovnnb_db.ctl": "OVN_Northbound",
    "/run/ovn/ovnsb_db.ctl": "OVN_Southbound",
    "/run/ovenbird/db.ctl": "Ovenbird",
}
SERVER_LOGS = (
    "/var/log/ovn/ovsdb-server-nb.log",
    "/var/log/ovn/ovsdb-server-sb.log",
    "/var/log/ovenbird/db.log",
)


def raft(lab: Lab, node: str, control: str, database: str) -> dict[str, Any]:
    """Return what a member says of its cluster."""
    argv = ["ovs-appctl", "-T", "3", "-t", control, "cluster/status", database]
    text = lab.node(node).run(argv, timeout_s=10).checked(subject=node).stdout
    return {
        "cid": re.search(r"^Cluster ID: .*\((.+)\)$", text, re.M).group(1),  # type: ignore[union-attr]
        "role": re.search(r"^Role: (\w+)", text, re.M).group(1),  # type: ignore[union-attr]
        "servers": len(re.findall(r" at tcp:", text)),
    }


@pytest.mark.parametrize("turn", range(5))
def test_members_started_together_make_one_cluster_and_leave_nothing_behind(turn: int) -> None:
    name, before = unique_name(), machine()
    try:
        lab = Lab.create(sized(name, central=3, gateways=0, computes=0))
        wait_ready(lab, timeout_s=60, progress=lambda _line: None)
        for control, database in DATABASES.items():
            seen = [raft(lab, node, control, database) for node in CENTRALS]
            assert len({one["cid"] for one in seen}) == 1, (turn, database, seen)
            assert sorted(one["role"] for one in seen) == ["follower", "follower", "leader"]
            assert {one["servers"] for one in seen} == {3}
        processes = [process for node in (*lab.nodes.values(), lab.outside, lab.fabric) for process in node.processes()]
        assert len(processes) > 3 * 4
    finally:
        remove(name)
    assert not [process for process in processes if process.is_alive]
    assert not lab.file.directory.exists()
    assert machine() == before


def sb_connection(site: Site, node: str) -> str:
    """Return the address of the SB member that a chassis' ovn-controller is connected to; "" for none."""
    argv = ["ss", "-Htn", "state", "established", "dport", "=", ":6642"]
    lines = site.lab.node(node).run(argv).stdout.splitlines()
    return lines[0].split()[-1].partition(":")[0] if lines else ""


def test_a_chassis_finds_another_member_when_its_own_dies(breakable: Site) -> None:
    site = breakable
    address = eventually_sync(lambda: sb_connection(site, "n1"), within_s=10)
    member = next(node for node in site.lab.nodes.values() if node.spec and node.spec.address == address)
    sessions = site.lab.node("n1").daemon("ovn-controller")
    # Its power, so that nothing starts the member again: only another one can answer.
    site.lab.power_off(member.name)

    def connected() -> bool:
        assert sb_connection(site, "n1") not in ("", address)
        return site.controller("n1", "connection-status") == "connected"

    eventually_sync(connected, within_s=30)
    assert site.lab.node("n1").daemon("ovn-controller") == sessions, "it reconnected, it was not restarted"
    # The connection is good for something: a change reaches the chassis through it.

    def realised() -> bool:
        done = site.cli("wait", "--timeout", "5", "-o", "json").json
        return next(one["state"] for one in done["chassis"] if one["name"] == "n1") == "done"

    eventually_sync(realised, within_s=60)


def northd_states(site: Site) -> dict[str, str]:
    argv = ["ovs-appctl", "-T", "3", "-t", "/run/ovn/ovn-northd.ctl", "status"]
    return {
        name: site.lab.node(name).run(argv, timeout_s=10).stdout.strip().removeprefix("Status: ") for name in CENTRALS
    }


def test_another_northd_takes_over_and_the_killed_one_comes_back(breakable: Site) -> None:
    site = breakable
    eventually_sync(lambda: sorted(northd_states(site).values()) == ["active", "standby", "standby"], within_s=30)
    before = northd_states(site)
    active = next(name for name, state in before.items() if state == "active")
    victim = site.lab.node(active).daemon("northd")

    kill = Kill(lab=site.lab, node=active, daemon="northd", number_of_signal=signal.SIGKILL)
    kill.inject()
    kill.verify_injected()

    def taken_over() -> str:
        states = northd_states(site)
        return next((name for name, state in states.items() if state == "active" and name != active), "")

    verdicts: list[str] = []

    def healthy() -> bool:
        verdicts.append(site.status()["verdict"])
        return verdicts[-1] == "healthy"

    successor = eventually_sync(taken_over, within_s=15)
    eventually_sync(healthy, within_s=20)
    assert set(verdicts) <= {"healthy", "degraded"}, "a take-over that worked was at no moment an outage"
    try:
        done = site.cli("apply", "-f", "-", "--wait", given="kind: Network\nname: later\nspec: {cidr: 10.1.1.0/24}\n")
        assert done.status == 0, done.err
        switches = site.sb("Datapath_Binding", "external_ids")
        assert "later" in {row["external_ids"].get("name") for row in switches}
    finally:
        site.delete(("Network", "later"))

    def whole_again() -> bool:
        return sorted(northd_states(site).values()) == ["active", "standby", "standby"]

    eventually_sync(whole_again, within_s=30)
    assert northd_states(site)[successor] == "active"
    assert site.lab.node(active).daemon("northd") != victim


def test_a_member_whose_disk_was_full_takes_part_again(breakable: Site) -> None:
    """The server never recovers from a write that failed, and spoils its log: its host's agent ends it before."""
    leader = breakable.status()["databases"]["nb"]["leader"]
    fault = DiskFull(lab=breakable.lab, node=leader)
    deaf = Stop(lab=breakable.lab, node=leader, daemon="agent")
    deaf.inject()
    fault.inject()
    fault.verify_injected()
    # Nobody ends the servers yet, and they go on writing: into what was kept in reserve for this.
    other = breakable.lab.node(next(name for name in CENTRALS if name != leader))
    for words in (("ls-add", "foreign"), ("ls-del", "foreign")) * 5:
        other.run(["ovn-nbctl", "--no-leader-only", "--timeout=20", "--wait=sb", *words], timeout_s=30).checked()
    logs = [breakable.lab.node(leader).path(path).read_text(encoding="utf-8") for path in SERVER_LOGS]
    assert not [log for log in logs if "No space left" in log]
    deaf.heal()
    eventually_sync(lambda: raft_status(breakable.lab.node(leader), "nb") is None, within_s=20)

    def others_go_on() -> bool:
        with contextlib.suppress(OvenbirdError):
            breakable.apply("kind: Network\nname: while-full\nspec: {cidr: 10.77.0.0/24}\n")
            breakable.delete(("Network", "while-full"))
            return True
        return False

    eventually_sync(others_go_on, within_s=30)
    fault.heal()
    breakable.settled()
    breakable.lab.power_off(leader)  # its logs must be such that they can be opened again
    breakable.lab.power_on(leader)
    breakable.settled()
