"""Load balancers by their result: who answers whom behind the outside address, through changes and lost gateways."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import pytest
from tests.faces.command import Done, ovenbird
from tests.lab.conftest import unique_name
from tests.waiting import eventually_sync

from ovenbird.lab.faults import Kill
from ovenbird.lab.lab import Lab, remove
from ovenbird.lab.node import Node, Workload
from ovenbird.lab.readiness import wait_ready
from ovenbird.lab.spec import sized

pytestmark = pytest.mark.lab

VIP = "172.16.0.150"
PLACES = {"vm1": "n1", "vm2": "n2", "vm3": "n1"}
NETWORKS = """\
kind: ExternalNetwork
name: public
spec: {physnet: ext, cidr: 172.16.0.0/24, gateway: 172.16.0.254, pool: [172.16.0.100-172.16.0.199]}
---
{kind: Router, name: r1, spec: {external: {network: public}}}
---
{kind: Network, name: blue, spec: {cidr: 192.168.1.0/24, router: r1}}
---
{kind: Network, name: green, spec: {cidr: 192.168.2.0/24, router: r1}}
---
{kind: Port, name: vm1, spec: {network: blue}}
---
{kind: Port, name: vm2, spec: {network: blue}}
---
{kind: Port, name: vm3, spec: {network: green}}
---
{kind: FloatingIP, name: vm1-public, spec: {network: public, port: vm1, address: 172.16.0.160}}
"""
SERVER = """
import socket, sys, threading
def answer_udp(s):
    while True:
        s.sendto(sys.argv[1].encode(), s.recvfrom(99)[1])
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("", 8053))
threading.Thread(target=answer_udp, args=(udp,), daemon=True).start()
tcp = socket.create_server(("", 8080), backlog=64)
print("up", flush=True)
while True:
    connection, client = tcp.accept()
    connection.sendall(f"{sys.argv[1]} {client[0]}".encode())
    connection.close()
"""
CLIENT = """
import json, socket, sys
got = []
for _ in range(int(sys.argv[3])):
    try:
        with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=1) as connection:
            got.append(connection.recv(99).decode())
    except OSError as error:
        got.append(f"failed: {error}")
print(json.dumps(got))
"""
UDP_FLOW = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flow:
    flow.settimeout(0.2)
    flow.bind(("", 4053))
    flow.connect((sys.argv[1], 53))
    for line in sys.stdin:
        flow.send(b"x")
        try:
            print(flow.recv(99).decode(), flush=True)
        except OSError:
            print("-", flush=True)
"""


def cli(lab: Lab, *args: str, given: str = "") -> Done:
    done = ovenbird(*args, server=lab.central_sockets()[0], given=given)
    assert done.status == 0, done
    return done


def apply(lab: Lab, name: str, port: int, *targets: str, **fields: str) -> None:
    target_port = 8053 if fields.get("protocol") == "udp" else 8080
    listeners = [{"port": port, "targets": [{"port": target, "target_port": target_port} for target in targets]}]
    spec = {"network": "public", "address": VIP, "ports": listeners, **fields}
    document = json.dumps({"kind": "LoadBalancer", "name": name, "spec": spec})
    assert cli(lab, "apply", "-f", "-", "--wait", "-o", "json", given=document).json["realised"]["state"] == "done"


def answers(client: Node | Workload, port: int, count: int = 12, address: str = VIP) -> list[str]:
    """What so many new connections were answered: the workload's name, and who it thinks the client is."""
    done = client.run(["python3", "-c", CLIENT, address, str(port), str(count)], timeout_s=60).checked()
    found: list[str] = json.loads(done.stdout)
    return found


def served_by(client: Node | Workload, port: int, *names: str) -> bool:
    """Whether exactly these workloads answer, each at least once, and no connection fails."""
    return {answer.split()[0] for answer in answers(client, port)} == set(names)


def workload(lab: Lab, name: str) -> Workload:
    return lab.node(PLACES[name]).workload(name)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A cluster with three workloads that answer with their names."""
    name, root = unique_name(), tmp_path_factory.mktemp("labs")
    with ExitStack() as stack:
        stack.callback(remove, name, root=root)
        made = Lab.create(sized(name, central=1, gateways=2, computes=2), root=root)
        wait_ready(made, timeout_s=60, progress=lambda _: None)
        cli(made, "apply", "-f", "-", "--wait", given=NETWORKS)
        for port, node in PLACES.items():
            cli(made, "port", "attach", port, "--node", node, "--wait")
            stack.enter_context(server(made, port))
        yield made


def server(lab: Lab, name: str) -> ExitStack:
    started = workload(lab, name).popen(
        ["python3", "-c", SERVER, name], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    stack = ExitStack()
    stack.callback(started.wait, timeout=10)
    stack.callback(os.killpg, started.pid, signal.SIGKILL)
    stack.callback(started.stdout.close)
    assert started.stdout.readline() == "up\n"
    return stack


def test_connections_from_outside_are_spread_over_all_targets(lab: Lab):
    apply(lab, "web", 80, "vm1", "vm2")
    eventually_sync(lambda: served_by(lab.outside, 80, "vm1", "vm2"), within_s=20)
    assert {answer.split()[1] for answer in answers(lab.outside, 80)} == {"172.16.0.254"}, "targets see the client"
    assert {answer.split()[0] for answer in answers(lab.outside, 8080, 3, "172.16.0.160")} == {"vm1"}, (
        "a target's floating IP goes on leading to it alone"
    )


def test_workloads_of_the_router_reach_it_too_even_when_they_are_targets(lab: Lab):
    apply(lab, "web", 80, "vm1", "vm2")
    for name in PLACES:
        eventually_sync(partial(served_by, workload(lab, name), 80, "vm1", "vm2"), within_s=20)
    apply(lab, "own", 81, "vm1")
    eventually_sync(lambda: served_by(workload(lab, "vm1"), 81, "vm1"), within_s=20)


def test_a_client_stays_with_one_target_if_that_is_wanted(lab: Lab):
    apply(lab, "sticky", 82, "vm1", "vm2", affinity="client")
    eventually_sync(lambda: "failed" not in " ".join(answers(lab.outside, 82, 1)), within_s=20)
    for client in (lab.outside, workload(lab, "vm3")):
        assert len(Counter(answers(client, 82, 16))) == 1


def test_a_target_taken_out_gets_no_more_connections_and_running_udp_moves_on(lab: Lab):
    apply(lab, "shrinking", 83, "vm1", "vm3")
    apply(lab, "dns", 53, "vm1", protocol="udp")
    eventually_sync(lambda: served_by(lab.outside, 83, "vm1", "vm3"), within_s=20)
    command = ["python3", "-c", UDP_FLOW, VIP]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with lab.outside.popen(command, **pipes) as flow:

        def asked() -> str:
            print("ask", file=flow.stdin, flush=True)
            return str(flow.stdout.readline().strip())

        eventually_sync(lambda: asked() == "vm1", within_s=20)
        apply(lab, "dns", 53, "vm2", protocol="udp")
        eventually_sync(lambda: asked() == "vm2", within_s=20)
        flow.stdin.close()
    apply(lab, "shrinking", 83, "vm3")
    eventually_sync(lambda: served_by(lab.outside, 83, "vm3"), within_s=20)

    cli(lab, "delete", "lb", "shrinking")
    cli(lab, "wait")
    eventually_sync(lambda: "vm3" not in " ".join(answers(lab.outside, 83, 1)), within_s=20)


def test_new_connections_survive_the_active_gateway(lab: Lab):
    apply(lab, "web", 80, "vm1", "vm2")
    eventually_sync(lambda: served_by(lab.outside, 80, "vm1", "vm2"), within_s=20)

    def active() -> str:
        return str(cli_status(lab)["routers"][0]["active"])

    first = active()
    Kill(lab=lab, node=first, daemon="ovs-vswitchd").inject()
    eventually_sync(lambda: served_by(lab.outside, 80, "vm1", "vm2"), within_s=20)

    lab.power_off(active())
    eventually_sync(lambda: served_by(lab.outside, 80, "vm1", "vm2"), within_s=20)
    assert lab.node(active()).is_up


def cli_status(lab: Lab) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = ovenbird("status", "-o", "json", server=lab.central_sockets()[0]).json
    return found
