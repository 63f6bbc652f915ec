"""A node is a host of its own: what it sees, what it keeps, and what the machine sees of it."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest
from tests.lab.conftest import hold_pid_file
from tests.waiting import eventually_sync

from ovenbird.lab.lab import Lab
from ovenbird.lab.node import Node
from ovenbird.lab.process import Process, lock_owner, members
from ovenbird.model.errors import OvenbirdError, Refused, Timeout, UserError

pytestmark = pytest.mark.lab


def pings(node: Node, address: str) -> bool:
    return node.run(["ping", "-c", "1", "-W", "1", address], timeout_s=10).ok


def test_namespaces_are_the_nodes_own(lab: Lab) -> None:
    for node in (*lab.nodes.values(), lab.outside):
        pid = node.require_init().pid
        for kind in ("net", "mnt", "uts", "ipc", "pid"):
            own = Path(f"/proc/{pid}/ns/{kind}").readlink()
            assert own != Path(f"/proc/self/ns/{kind}").readlink(), kind
    links = {Path(f"/proc/{node.require_init().pid}/ns/net").readlink() for node in lab.nodes.values()}
    assert len(links) == len(lab.nodes)


def test_hostname_names_and_identity(lab: Lab) -> None:
    node = lab.nodes["g1"]
    assert node.run(["hostname"]).stdout == "g1\n"
    assert node.run(["cat", "/etc/hostname", "/etc/ovenbird/node"]).stdout == "g1\ng1\n"
    assert node.run(["getent", "ahostsv4", "c1"]).stdout.startswith("10.99.0.1 ")
    assert "name: g1" in node.run(["cat", "/etc/ovenbird/cluster.yaml"]).stdout


def test_only_the_first_central_may_create_the_databases(lab: Lab) -> None:
    holders = [name for name, node in lab.nodes.items() if node.run(["test", "-e", "/etc/ovenbird/bootstrap"]).ok]
    assert holders == ["c1"]


def test_files_are_private(lab: Lab) -> None:
    places = [
        f"{top}/of-c1" for top in ("/run", "/tmp", "/dev/shm", "/etc", "/var/lib/ovn", "/var/log/ovn", "/etc/ovn")
    ]
    lab.nodes["c1"].run(["touch", *places]).checked()
    for place in places:
        assert not Path(place).exists(), place
        assert not lab.nodes["g1"].run(["test", "-e", place]).ok, place


def test_the_hosts_own_cluster_is_not_seen(lab: Lab) -> None:
    assert lab.nodes["g1"].run(["ls", "-A", "/etc/openvswitch", "/var/lib/openvswitch"]).stdout.split() == [
        "/etc/openvswitch:",
        "/var/lib/openvswitch:",
    ]


def test_only_its_own_processes_and_interfaces(lab: Lab) -> None:
    node = lab.nodes["n1"]
    assert node.run(["sh", "-c", "ls -d /proc/[0-9]* | wc -l"]).stdout.strip() in {"3", "4", "5"}
    assert node.run(["ls", "/sys/class/net"]).stdout.split() == ["eth0", "eth1", "lo"]
    assert lab.nodes["c1"].run(["ls", "/sys/class/net"]).stdout.split() == ["eth0", "lo"]


def test_underlay_and_outside(lab: Lab) -> None:
    assert pings(lab.nodes["c1"], "10.99.0.2")
    assert pings(lab.nodes["n1"], "10.99.0.1")
    lab.nodes["g1"].run(["ip", "address", "replace", "172.16.0.9/24", "dev", "eth1"]).checked()
    assert pings(lab.nodes["g1"], "172.16.0.254")
    assert pings(lab.outside, "172.16.0.9")
    assert not pings(lab.outside, "10.99.0.1")


def test_checksums_are_complete_on_the_wire(lab: Lab) -> None:
    features = lab.nodes["g1"].run(["ethtool", "-k", "eth0"]).stdout
    assert "tx-checksumming: off" in features


def test_exit_status_output_and_input(lab: Lab) -> None:
    done = lab.nodes["c1"].run(["sh", "-c", "cat; echo oops >&2; exit 3"], stdin="hello")
    assert (done.status, done.stdout, done.stderr) == (3, "hello", "oops\n")
    with pytest.raises(OvenbirdError, match="status 3"):
        done.checked()


def test_a_deadline_ends_the_command_inside_the_node(lab: Lab) -> None:
    node = lab.nodes["c1"]
    before = {process.pid for process in node.processes()}
    with pytest.raises(Timeout, match="sleep 321"):
        node.run(["sh", "-c", "sleep 321; true"], timeout_s=0.3)
    eventually_sync(lambda: {process.pid for process in node.processes()} <= before, within_s=5)


def test_orphans_are_reaped(lab: Lab) -> None:
    node = lab.nodes["c1"]
    orphan = int(node.run(["sh", "-c", "sleep 0.05 >/dev/null 2>&1 & echo $!"]).stdout)
    eventually_sync(lambda: not node.path(f"/proc/{orphan}").exists(), within_s=5)


def test_a_daemon_is_found_by_the_lock_on_its_pid_file(lab: Lab) -> None:
    node = lab.nodes["c1"]
    found = hold_pid_file(node, "ovn-northd")
    assert found in list(members(node.require_init()))
    assert node.daemon("northd") == found
    assert found.signal(signal.SIGKILL)
    assert found.wait_gone(timeout_s=5)
    assert lock_owner(node.path("/run/ovn/ovn-northd.pid")) is None
    assert "ovn-northd" not in node.pids()
    with pytest.raises(UserError, match="no daemon northd runs on c1"):
        node.daemon("northd")


def test_a_stale_pid_file_names_nobody(lab: Lab) -> None:
    node = lab.nodes["c1"]
    node.run(["sh", "-c", "mkdir -p /run/openvswitch; echo 1 > /run/openvswitch/ovs-vswitchd.pid"]).checked()
    assert "ovs-vswitchd" not in node.pids(), "pid 1 is our init, not a switch"


def test_the_start_time_tells_two_processes_with_one_pid_apart() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        real = Process.find(child.pid)
        assert real is not None
        impostor = Process(real.pid, real.start_ticks - 1)
        assert not impostor.is_alive
        assert not impostor.signal(signal.SIGKILL)
        assert real.is_alive
        assert real.signal(signal.SIGKILL)
        assert real.wait_gone(timeout_s=5)
        child.wait(timeout=5)


def test_power_off_ends_everything_and_keeps_the_disk(lab: Lab) -> None:
    node = lab.nodes["g1"]
    node.run(["sh", "-c", "echo kept > /var/lib/ovn/kept; echo kept > /etc/ovn/kept; echo gone > /run/gone"]).checked()
    mac = node.run(["cat", "/sys/class/net/eth0/address"]).stdout
    old = node.require_init()
    with node.popen(["sleep", "300"]) as process:
        assert lab.power_off("g1")
        assert process.wait(timeout=5) != 0
    assert list(members(old)) == []
    assert not lab.power_off("g1")
    with pytest.raises(Refused, match="g1 is off"):
        node.run(["true"])
    assert node.disk("/var/lib/ovn/kept").read_text() == "kept\n"

    assert lab.power_on("g1")
    assert not lab.power_on("g1")
    assert node.run(["cat", "/var/lib/ovn/kept", "/etc/ovn/kept"]).stdout == "kept\nkept\n"
    assert not node.run(["test", "-e", "/run/gone"]).ok
    assert pings(node, "10.99.0.1")
    assert node.run(["hostname"]).stdout == "g1\n"
    assert node.run(["cat", "/sys/class/net/eth0/address"]).stdout == mac, "a network card keeps its address"


def test_the_permission_to_create_is_handed_out_once(lab: Lab) -> None:
    node = lab.nodes["c1"]
    node.run(["mv", "/etc/ovenbird/bootstrap", "/etc/ovenbird/bootstrap.done"]).checked()
    lab.power_off("c1")
    lab.power_on("c1")
    assert node.run(["ls", "/etc/ovenbird"]).stdout.split() == ["bootstrap.done", "cluster.yaml", "node"]


def test_workload_namespaces_belong_to_the_node(lab: Lab) -> None:
    node = lab.nodes["n1"]
    node.run(["ip", "netns", "add", "vm1"]).checked()
    interfaces = json.loads(node.workload("vm1").run(["ip", "-j", "link"]).checked().stdout)
    assert [interface["ifname"] for interface in interfaces] == ["lo"]
    assert not Path("/run/netns/vm1").exists()
    assert node.run(["ip", "netns", "list"]).stdout.split() == ["vm1"]
    assert lab.nodes["g1"].run(["ip", "netns", "list"]).stdout == ""
