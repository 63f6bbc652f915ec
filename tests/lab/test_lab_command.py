"""`ovenbird lab` as a person types it, with the production agent in every node."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab.conftest import unique_name
from tests.waiting import eventually_sync

from ovenbird.lab.lab import Lab, remove

pytestmark = [pytest.mark.lab, pytest.mark.daemons]

OVENBIRD = str(Path(sys.executable).with_name("ovenbird"))


class Person:
    """Types commands about one lab."""

    def __init__(self, name: str) -> None:
        self.name = name

    def types(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "OVENBIRD_LAB": self.name}
        return subprocess.run(
            [OVENBIRD, "lab", *words], capture_output=True, text=True, timeout=90, env=environment, check=False
        )


@pytest.fixture(scope="module")
def person() -> Iterator[Person]:
    """A person with a small lab, everything in it ready."""
    someone = Person(unique_name())
    try:
        up = someone.types("up", "--central", "1", "--gateways", "1", "--computes", "1")
        assert up.returncode == 0, up.stderr
        assert up.stderr.splitlines()[-1].endswith(f"lab {someone.name} is ready")
        yield someone
    finally:
        remove(someone.name)


def test_ps(person: Person) -> None:
    nodes = json.loads(person.types("ps", "--name", person.name, "-o", "json").stdout)["nodes"]
    assert [(node["node"], node["state"], node["roles"]) for node in nodes] == [
        ("c1", "up", ["central"]),
        ("g1", "up", ["gateway"]),
        ("n1", "up", ["compute"]),
        ("outside", "up", []),
    ]
    assert all(node["processes"] >= 6 for node in nodes[:3]), "init, agent, daemons and their monitors"


def test_exec_gives_output_and_exit_status(person: Person) -> None:
    done = person.types("exec", "g1", "--", "sh", "-c", "hostname; exit 7")
    assert (done.returncode, done.stdout) == (7, "g1\n")
    assert person.types("exec", "g1", "--").returncode == 2
    assert "has no node g7" in person.types("exec", "g7", "--", "true").stderr


def test_logs(person: Person) -> None:
    assert "ovs-vswitchd" in person.types("logs", "g1").stdout
    assert "ovs_numa" in person.types("logs", "g1", "vswitchd", "-n", "500").stdout
    missing = person.types("logs", "g1", "northd")
    assert missing.returncode == 2
    assert "g1 has no log of northd" in missing.stderr


def test_kill_of_a_real_daemon(person: Person) -> None:
    lab = Lab.open(person.name)
    victim = lab.nodes["g1"].daemon("ovs-vswitchd")
    done = person.types("fault", "kill", "g1", "ovs-vswitchd")
    assert (done.returncode, done.stderr) == (0, "SIGKILL to ovs-vswitchd on g1\n")
    assert not victim.is_alive
    eventually_sync(lambda: lab.nodes["g1"].pids().get("ovs-vswitchd"), within_s=20)


def test_faults_are_listed_and_healed_by_later_commands(person: Person) -> None:
    assert person.types("fault", "stop", "c1", "nb").returncode == 0
    assert person.types("fault", "partition", "g1", "--plane", "data").returncode == 0
    kinds = [fault["kind"] for fault in json.loads(person.types("fault", "list", "-o", "json").stdout)["faults"]]
    assert kinds == ["stop", "partition"]
    assert person.types("fault", "heal").stderr.splitlines() == [
        "healed: partition g1 <-x-> all others, data plane only",
        "healed: stop of nb on c1",
    ]
    assert person.types("fault", "heal").stderr == "no fault is active\n"


@pytest.mark.parametrize(
    ("node", "daemon"),
    [("g1", "ovn-controller"), ("g1", "ovs-vswitchd"), ("g1", "ovsdb-server"), ("c1", "northd"), ("c1", "ovenbird")],
)
def test_every_daemon_can_be_asked_to_leave_and_is_started_again(person: Person, node: str, daemon: str) -> None:
    lab = Lab.open(person.name)
    victim = lab.nodes[node].daemon(daemon)
    name = next(name for name, process in lab.nodes[node].pids().items() if process == victim)
    done = person.types("fault", "inject", "exit", node, "--set", f"daemon={daemon}")
    assert (done.returncode, done.stderr) == (0, f"orderly end of {daemon} on {node}\n")
    assert not victim.is_alive
    eventually_sync(lambda: lab.nodes[node].pids().get(name), within_s=20)
    chassis = (
        lab.nodes["c1"].run(["ovn-sbctl", "--timeout=10", "--bare", "--columns=name", "list", "Chassis"]).checked()
    )
    assert "g1" in chassis.stdout.split(), "whoever only restarts keeps its place"


def test_any_kind_of_fault_can_be_injected_by_name(person: Person) -> None:
    done = person.types("fault", "inject", "loss", "g1", "--set", "percent=50", "--set", "peers=c1,n1", "--limit", "60")
    assert (done.returncode, done.stderr) == (
        0,
        "loss of 50% g1 <-x-> c1,n1; heal with `ovenbird lab fault heal`\n",
    )
    listed = json.loads(person.types("fault", "list", "-o", "json").stdout)["faults"]
    assert [(fault["kind"], fault["limit_s"], fault["percent"]) for fault in listed] == [("loss", 60.0, 50)]
    assert person.types("fault", "heal").stderr == "healed: loss of 50% g1 <-x-> c1,n1\n"


def test_the_kinds_of_fault_are_listed_with_those_that_cannot_be(person: Person) -> None:
    found = json.loads(person.types("fault", "kinds", "-o", "json").stdout)
    by_kind = {item["kind"]: item["parameters"] for item in found["kinds"]}
    assert by_kind["crash-loop"] == {"daemon": "", "times": "5"}
    assert {"kill", "stop", "power-off", "partition", "delay", "disk-full", "db-damage"} <= set(by_kind)
    assert "netem" in found["unavailable"]["reorder"]
    assert not set(by_kind) & set(found["unavailable"])


def test_power_cycle_and_repair(person: Person) -> None:
    assert person.types("fault", "power-off", "c1").returncode == 0
    refused = person.types("exec", "c1", "--", "true")
    assert refused.returncode == 3
    assert "node c1 is off" in refused.stderr
    up = person.types("up")
    assert up.returncode == 0, up.stderr
    assert "c1 is on" in up.stderr


def test_an_agent_that_ended_is_started_again_by_up(person: Person) -> None:
    assert person.types("fault", "kill", "n1", "agent").returncode == 0
    up = person.types("up")
    assert up.returncode == 0, up.stderr
    assert "started the agent again on n1" in up.stderr
    assert person.types("fault", "heal").stderr == "no fault is active\n"


def test_not_ready_in_time_says_what_is_missing(person: Person) -> None:
    assert person.types("fault", "stop", "c1", "sb").returncode == 0
    late = person.types("up", "--timeout", "2")
    assert late.returncode == 75
    assert "is not ready after 2 s" in late.stderr
    assert "logs c1 agent" in late.stderr
    assert person.types("fault", "heal").returncode == 0
    assert person.types("up").returncode == 0


def test_bad_input(person: Person) -> None:
    for words, part in (
        (("up", "--name", "Bad_Name"), "bad lab name"),
        (("up", "--central", "2"), "1, 3 or 5 central"),
        (("up", "--central", "3"), "has another shape"),
        (("fault", "kill", "g1", "nothing"), "no daemon nothing runs on g1"),
        (("fault", "inject", "earthquake", "g1"), "no fault earthquake"),
        (("fault", "inject", "loss", "g1", "--set", "percent=lots"), "percent must be a number, not 'lots'"),
        (("fault", "inject", "loss", "g1", "--set", "colour=red"), "colour"),
        (("fault", "inject", "partition", "g1", "--set", "plane=moral"), "plane moral"),
        (("fault", "inject", "slow-fsync", "c1"), "dm-delay"),
        (("ps", "--name", "nowhere"), "there is no lab nowhere"),
    ):
        done = person.types(*words)
        assert done.returncode in (2, 3), words
        assert part in done.stderr, words


def test_down_twice() -> None:
    someone = Person(unique_name())
    assert someone.types("up", "--central", "1", "--gateways", "0", "--computes", "0", "--no-wait").returncode == 0
    assert someone.types("down").stderr == f"lab {someone.name} is gone\n"
    again = someone.types("down")
    assert (again.returncode, again.stderr) == (0, f"there is no lab {someone.name}\n")
