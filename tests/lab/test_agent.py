"""The agent on chassis hosts, in a lab: real Open vSwitch, real tunnels; judged by pings between workloads."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.waiting import eventually, eventually_sync

from ovenbird.lab.lab import Lab, remove
from ovenbird.lab.spec import sized
from ovenbird.ovsdb import Client, DuplicateUuid, Replica, Transaction
from ovenbird.plan.rows import row_uuid

pytestmark = pytest.mark.lab
READY_S = 30
NETWORK = {"cidr": "192.168.1.0/24", "router": "r1"}
PORTS = {f"vm{i}": {"address": f"192.168.1.1{i}", "mac": f"02:00:00:00:00:1{i}"} for i in (1, 2, 3)}
NB_NETWORK = (
    "ls-add blue -- lr-add r1 -- lrp-add r1 r1_blue 02:00:00:00:01:01 192.168.1.1/24"
    " -- lsp-add blue to_r1 -- lsp-set-type to_r1 router -- lsp-set-addresses to_r1 router"
    " -- lsp-set-options to_r1 router-port=r1_blue"
)
NB_DHCP = (
    "create", "DHCP_Options", "cidr=192.168.1.0/24",
    'options="lease_time"="3600" "server_id"="192.168.1.1" "server_mac"="02:00:00:00:01:01" "router"="192.168.1.1"'
    ' "mtu"="1400"',
)  # fmt: skip


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One central, one gateway and two compute hosts with agents; network and ports are in NB and declared."""
    name = f"agent-{os.getpid()}"
    try:
        made = Lab.create(sized(name, central=1, gateways=1, computes=2))
        eventually_sync(lambda: nbctl(made, "--timeout=2", "show", check=False) == 0, within_s=READY_S)
        eventually_sync(lambda: len(chassis(made)) == 3, within_s=READY_S)
        nbctl(made, *NB_NETWORK.split())
        dhcp = made.node("c1").run(["ovn-nbctl", *NB_DHCP]).checked(subject="c1").stdout.strip()
        for port, assigned in PORTS.items():
            addresses = f"{assigned['mac']} {assigned['address']}"
            nbctl(made, "lsp-add", "blue", port, "--", "lsp-set-addresses", port, addresses)
            nbctl(made, "lsp-set-dhcpv4-options", port, dhcp)
        yield made
    finally:
        remove(name)


def nbctl(lab: Lab, *words: str, check: bool = True) -> int:
    done = lab.node("c1").run(["ovn-nbctl", *words])
    if check:
        done.checked(subject="c1")
    return int(done.status)


def chassis(lab: Lab) -> list[str]:
    words = ["ovn-sbctl", "--timeout=5", "--bare", "--columns=name", "list", "Chassis"]
    return lab.node("c1").run(words).stdout.split()


@asynccontextmanager
async def store(lab: Lab) -> AsyncIterator[Client]:
    """The Ovenbird database, with the network and the ports declared."""
    socket = lab.node("c1").path("/run/ovenbird/db.sock")
    async with Client("Ovenbird", [f"unix:{socket}"]) as client:
        await client.wait_connected(timeout_s=READY_S)
        txn = Transaction()
        declared: list[tuple[str, str, dict[str, Any], dict[str, str]]] = [("Network", "blue", NETWORK, {})]
        declared += [("Port", name, {"network": "blue"}, assigned) for name, assigned in PORTS.items()]
        for kind, name, spec, assigned in declared:
            row = {"kind": kind, "name": name, "spec": json.dumps(spec), "assigned": json.dumps(assigned)}
            txn.insert("Object", row, uuid=row_uuid("Object", f"{kind}/{name}"))
        with suppress(DuplicateUuid):  # an earlier test did it
            await client.transact(txn)
        try:
            yield client
        finally:
            txn = Transaction()
            txn.delete("Attachment", where=[])
            await client.transact(txn)
            await eventually(lambda: not leftovers(lab), within_s=10)


def leftovers(lab: Lab) -> list[str]:
    """What is still there of workloads on the compute hosts."""
    found: list[str] = []
    for node in (lab.node("n1"), lab.node("n2")):
        found += node.run(["ip", "netns", "list"]).stdout.split()
        found += [line for line in node.run(["ip", "-br", "link"]).stdout.splitlines() if line.startswith("w-")]
        found += [port for port in node.run(["ovs-vsctl", "list-ports", "br-int"]).stdout.split() if port[:2] == "w-"]
    return found


async def attach(client: Client, port: str, node: str, **spec: str) -> None:
    txn = Transaction()
    txn.insert("Attachment", {"port": port, "node": node, "spec": json.dumps(spec)})
    await client.transact(txn)


async def status(client: Client, port: str) -> dict[str, str]:
    txn = Transaction()
    txn.select("Attachment", where=[("port", "==", port)], columns=["status"])
    rows = (await client.transact(txn)).rows(0)
    return dict(json.loads(rows[0]["status"] or "{}")) if rows else {}


async def attached(client: Client, port: str, *, within_s: float = 20) -> dict[str, str]:
    async def is_attached() -> dict[str, str]:
        now = await status(client, port)
        return now if now.get("state") == "attached" else {}

    return dict(await eventually(is_attached, within_s=within_s))


def ping(lab: Lab, node: str, port: str, address: str) -> bool:
    return lab.node(node).workload(port).run(["ping", "-c1", "-W1", address], timeout_s=10).status == 0


def pids(lab: Lab, node: str) -> dict[str, int]:
    return {name: one.pid for name, one in lab.node(node).pids().items() if name != "agent"}


def events(lab: Lab, node: str, event: str) -> list[dict[str, Any]]:
    lines = lab.node(node).disk("/var/log/ovenbird/agent.log").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["event"] == event]


def restart_agent(lab: Lab, node: str) -> None:
    agent = lab.node(node).daemon("agent")
    agent.signal(signal.SIGTERM)
    assert agent.wait_gone(timeout_s=2)
    lab.up()


async def test_daemons_come_before_the_agent_and_both_before_others_also_once_adopted(lab: Lab):
    def precedence(node: str) -> dict[str, tuple[int, int]]:
        """Niceness of each daemon: its session's, which counts among sessions, and its own, which counts within one."""
        return {
            name: (
                int(Path(f"/proc/{one.pid}/autogroup").read_text().split()[-1]),
                os.getpriority(os.PRIO_PROCESS, one.pid),
            )
            for name, one in lab.node(node).pids().items()
        }

    for node in ("c1", "g1", "n1"):
        want = {**{name: (-5, -10) for name in pids(lab, node)}, "agent": (-2, 0)}
        if node != "c1":
            want |= {"ovs-vswitchd": (-10, -10), "ovn-controller": (-7 if node == "g1" else -5, -10)}
        await eventually(lambda node=node, want=want: precedence(node) == want, within_s=10)
    Path(f"/proc/{lab.node('g1').daemon('vswitchd').pid}/autogroup").write_text("0")
    restart_agent(lab, "g1")
    await eventually(lambda: {session for session, _ in precedence("g1").values()} == {-10, -7, -5, -2}, within_s=20)


async def test_workloads_on_two_hosts_reach_each_other_and_leave_nothing_behind(lab: Lab):
    async with store(lab) as client:
        await attach(client, "vm1", "n1", type="namespace", address="dhcp")
        await attach(client, "vm2", "n2", type="namespace", address="static")
        assert (await attached(client, "vm1"))["address"] == "192.168.1.11"
        assert (await attached(client, "vm2"))["address"] == "192.168.1.12"
        await eventually(lambda: ping(lab, "n1", "vm1", "192.168.1.12"), within_s=10)
        await eventually(lambda: ping(lab, "n2", "vm2", "192.168.1.1"), within_s=10)
        link = lab.node("n1").workload("vm1").run(["cat", "/sys/class/net/eth0/mtu"]).stdout.strip()
        assert link == "1400"  # as DHCP told
        # The host's own stack must not be reachable behind Open vSwitch's back.
        arping = ["arping", "-c", "2", "-w", "2", "-I", "eth0", address_of(lab, "n1")]
        assert "0 response" in lab.node("n1").workload("vm1").run(arping).stdout


async def test_an_existing_interface_is_attached_and_given_back(lab: Lab):
    node = lab.node("n1")
    node.run(["ip", "link", "add", "tap0", "type", "veth", "peer", "name", "guest0"]).checked(subject="n1")
    try:
        async with store(lab) as client:
            await attach(client, "vm3", "n1", type="interface", interface="tap0")
            await attached(client, "vm3")
            await attach(client, "vm2", "n1", type="interface", interface="tap0")
            await attach(client, "vm1", "n1", type="interface", interface="no-such")

            async def refused() -> bool:
                return (
                    (await status(client, "vm2")).get("state") == "failed" == (await status(client, "vm1")).get("state")
                )

            await eventually(refused, within_s=10)
            assert "attached to port vm3" in (await status(client, "vm2"))["detail"]
            assert "no interface 'no-such'" in (await status(client, "vm1"))["detail"]
            up = ["ovn-nbctl", "--timeout=5", "wait-until", "Logical_Switch_Port", "vm3", "up=true"]
            assert lab.node("c1").run(up).status == 0
        listed = ["ovs-vsctl", "list-ports", "br-int"]
        await eventually(lambda: "tap0" not in node.run(listed).stdout.split(), within_s=5)
        assert "on-tap0" not in node.run(["nft", "list", "table", "netdev", "ovenbird"]).stdout
        assert Path(f"/proc/{node.require_init().pid}/root/sys/class/net/tap0").exists()
    finally:
        node.run(["ip", "link", "delete", "tap0"])


async def test_an_agents_restart_changes_nothing(lab: Lab):
    node = lab.node("n1")
    async with store(lab) as client:
        await attach(client, "vm1", "n1", type="namespace", address="dhcp")
        await attached(client, "vm1")
        before, size = pids(lab, "n1"), node.disk("/etc/openvswitch/conf.db").stat().st_size
        adopted = len(events(lab, "n1", "daemon.adopted"))
        restart_agent(lab, "n1")
        await eventually(lambda: len(events(lab, "n1", "daemon.adopted")) == adopted + 3, within_s=10)
        lab.node("n1").run(["ovs-vsctl", "--timeout=5", "--no-wait", "get", "Open_vSwitch", ".", "cur_cfg"])
        # Its report proves that it is through with everything that it does at a start.
        async with Replica(
            client, {"Node": ["name", "heartbeat_s"]}, where={"Node": [("name", "==", "n1")]}
        ) as replica:
            await replica.ready(timeout_s=5)
            seen = replica.version
            await replica.wait_until(lambda now: now.version > seen, timeout_s=15)
        assert pids(lab, "n1") == before
        assert node.disk("/etc/openvswitch/conf.db").stat().st_size == size
        await eventually(lambda: ping(lab, "n1", "vm1", "192.168.1.1"), within_s=10)


async def test_traffic_returns_after_vswitchd_is_killed(lab: Lab):
    async with store(lab) as client:
        await attach(client, "vm1", "n1", type="namespace", address="dhcp")
        await attach(client, "vm2", "n2", type="namespace", address="static")
        await attached(client, "vm1")
        await attached(client, "vm2")
        await eventually(lambda: ping(lab, "n1", "vm1", "192.168.1.12"), within_s=10)
        before = pids(lab, "n1")
        lab.node("n1").daemon("vswitchd").signal(signal.SIGKILL)
        await eventually(lambda: pids(lab, "n1").get("ovs-vswitchd") not in (None, before["ovs-vswitchd"]), within_s=5)
        await eventually(lambda: ping(lab, "n1", "vm1", "192.168.1.12"), within_s=10)
        assert pids(lab, "n1")["ovn-controller"] == before["ovn-controller"]
        # Its tunnels stayed shut until it had its flows, and nothing of that is left.
        assert events(lab, "n1", "switch.released")[-1]["flows"] > 0
        assert "6081" not in lab.node("n1").run(["ovs-ofctl", "dump-flows", "br-phy"]).stdout
        assert "flow-restore-wait" not in lab.node("n1").run(["ovs-vsctl", "get", "open", ".", "other_config"]).stdout
        addresses = lab.node("n1").run(["ip", "-br", "-4", "address", "show", "br-phy"]).stdout
        assert address_of(lab, "n1") in addresses


async def test_a_lost_conf_db_is_made_anew(lab: Lab):
    node = lab.node("n1")
    async with store(lab) as client:
        await attach(client, "vm1", "n1", type="namespace", address="dhcp")
        await attached(client, "vm1")
        node.disk("/etc/openvswitch/conf.db").unlink()
        node.daemon("ovsdb-server").signal(signal.SIGKILL)
        has_port = ["ovs-vsctl", "--timeout=2", "port-to-br", "w-vm1"]
        await eventually(lambda: node.run(has_port).stdout.strip() == "br-int", within_s=15)
        await eventually(lambda: ping(lab, "n1", "vm1", "192.168.1.1"), within_s=15)


async def test_a_power_cycle_brings_the_workload_back(lab: Lab):
    async with store(lab) as client:
        await attach(client, "vm1", "n1", type="namespace", address="dhcp")
        await attached(client, "vm1")
        lab.power_off("n1")
        lab.power_on("n1")
        await eventually(lambda: "vm1" in lab.node("n1").run(["ip", "netns"]).stdout, within_s=15)
        await eventually(lambda: ping(lab, "n1", "vm1", "192.168.1.1"), within_s=15)


async def test_a_row_deleted_while_the_agent_is_away_is_undone(lab: Lab):
    async with store(lab) as client:
        await attach(client, "vm1", "n1", type="namespace", address="static")
        await attached(client, "vm1")
        agent = lab.node("n1").daemon("agent")
        agent.signal(signal.SIGTERM)
        assert agent.wait_gone(timeout_s=2)
        txn = Transaction()
        txn.delete("Attachment", where=[("port", "==", "vm1")])
        await client.transact(txn)
        assert leftovers(lab)
        lab.up()
        await eventually(lambda: not leftovers(lab), within_s=10)


async def test_a_database_that_was_made_anew_unplugs_nobody(lab: Lab):
    node = lab.node("n1")
    record = node.disk("/var/lib/ovenbird/attachments.json")
    async with store(lab) as client:
        await attach(client, "vm1", "n1", type="namespace", address="static")
        await attached(client, "vm1")
        agent = node.daemon("agent")
        agent.signal(signal.SIGTERM)
        assert agent.wait_gone(timeout_s=2)
        known = json.loads(record.read_text())
        record.write_text(json.dumps({**known, "cluster_id": "11111111-2222-3333-4444-555555555555"}))
        txn = Transaction()
        txn.delete("Attachment", where=[("port", "==", "vm1")])
        await client.transact(txn)
        lab.up()
        failed = await eventually(lambda: events(lab, "n1", "part.failed"), within_s=10)
        assert "not for " + known["cluster_id"] in failed[-1]["error"]
        await eventually(lambda: ping(lab, "n1", "vm1", "192.168.1.1"), within_s=10)
        record.write_text(json.dumps(known))
        await eventually(lambda: not leftovers(lab), within_s=15)


async def test_a_foreign_namespace_of_the_ports_name_is_not_touched(lab: Lab):
    node = lab.node("n1")
    node.run(["ip", "netns", "add", "vm1"]).checked(subject="n1")
    try:
        async with store(lab) as client:
            await attach(client, "vm1", "n1", type="namespace", address="static")

            async def refused() -> bool:
                return (await status(client, "vm1")).get("state") == "failed"

            await eventually(refused, within_s=10)
            txn = Transaction()
            txn.delete("Attachment", where=[])
            await client.transact(txn)
            await eventually(lambda: events(lab, "n1", "attachment.detached")[-1]["port"] == "vm1", within_s=5)
            assert "vm1" in node.run(["ip", "netns"]).stdout
            node.run(["ip", "netns", "delete", "vm1"])
    finally:
        node.run(["ip", "netns", "delete", "vm1"])


async def test_a_restarted_gateway_draws_no_traffic_before_it_has_flows(lab: Lab):
    """BFD of a restarted switch must stay down until ovn-controller has filled it."""
    async with store(lab) as client:
        await attach(client, "vm1", "n1", type="namespace", address="static")
        await attached(client, "vm1")
        gateway, before = lab.node("g1"), len(events(lab, "g1", "switch.released"))
        # Held flows cannot come: ovn-controller is stopped, so the tunnels must stay shut.
        gateway.daemon("ovn-controller").signal(signal.SIGSTOP)
        try:
            gateway.daemon("vswitchd").signal(signal.SIGKILL)
            shut = ["ovs-ofctl", "dump-flows", "br-phy", "udp,tp_dst=6081"]
            await eventually(lambda: "actions=drop" in gateway.run(shut).stdout, within_s=5)
            assert ping_host(lab, "g1", address_of(lab, "c1"))  # but the underlay works
            assert len(events(lab, "g1", "switch.released")) == before
        finally:
            gateway.daemon("ovn-controller").signal(signal.SIGCONT)
        await eventually(lambda: len(events(lab, "g1", "switch.released")) > before, within_s=15)
        assert "actions=drop" not in gateway.run(shut).stdout


def address_of(lab: Lab, node: str) -> str:
    return next(host.address for host in lab.spec.cluster().hosts if host.name == node)


def ping_host(lab: Lab, node: str, address: str) -> bool:
    return lab.node(node).run(["ping", "-c1", "-W2", address], timeout_s=10).status == 0
