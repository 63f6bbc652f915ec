"""What hosts do with traffic of a router that a gateway carries: who steers, who answers, what is translated."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.lab.cluster.gateway_watch import GatewayWatch
from tests.lab.cluster.site import CENTRALS, COMPUTES, GATEWAYS, OUTSIDE, R1, Site, ping, ping_output
from tests.waiting import eventually, eventually_sync

from ovenbird.drill.load import Load, Stream
from ovenbird.drill.outage import largest
from ovenbird.lab.node import Node, Workload

pytestmark = pytest.mark.lab

PORT = "cr-r1_public"
SERVER = """
import socket
server = socket.create_server(("", 8080))
print("up", flush=True)
while True:
    connection, client = server.accept()
    connection.sendall(client[0].encode())
    connection.close()
"""
CLIENT = "import socket,sys; print(socket.create_connection((sys.argv[1], int(sys.argv[2])), 2).recv(99).decode())"


@contextmanager
def serving(place: Node | Workload) -> Iterator[None]:
    started = place.popen(["python3", "-c", SERVER], stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert started.stdout.readline() == "up\n"
        yield
    finally:
        os.killpg(started.pid, signal.SIGKILL)
        started.wait(timeout=10)
        started.stdout.close()


def members(site: Site, router: str) -> list[str]:
    return [one["chassis"] for one in site.router(router)["gateways"]]


def test_hypervisors_steer_by_an_active_backup_bundle_in_the_order_of_priorities(site: Site) -> None:
    for compute in COMPUTES:
        tunnels = {
            str(row["ofport"]): row["options"]["remote_ip"]
            for row in site.vswitch(compute, "Interface", "ofport", "options", where=["type=geneve"])
        }
        addresses = {host.address: host.name for host in site.lab.spec.cluster().hosts}
        flows = site.lab.node(compute).run(["ovs-ofctl", "dump-flows", "br-int"], timeout_s=10).checked().stdout
        bundles = {
            tuple(addresses[tunnels[port]] for port in found.split(","))
            for found in re.findall(r"bundle\(eth_src,0,active_backup,ofport,members:([0-9,]+)\)", flows)
        }
        assert bundles == {tuple(members(site, router)) for router in ("r1", "r2", "r3", "tenant")}


def test_only_the_active_gateway_answers_arp_for_its_router(site: Site) -> None:
    active, standby = site.active("r1"), site.standby("r1")
    mac = site.api.get("/v1/objects/Router/r1")["assigned"]["mac"]
    with site.capture("outside", "eth0", "arp") as seen, site.capture(standby, "eth1", "arp") as at_standby:
        for _ in range(3):
            site.outside.run(["ip", "neighbour", "flush", "all"])
            ping(site.outside, R1)
        asked = rf"Request who-has {R1} \(?.*tell {OUTSIDE}|Request who-has {R1} tell {OUTSIDE}"
        eventually_sync(lambda: len(seen.matching(rf"Reply {R1} is-at {mac}")) >= 3, within_s=5)
        eventually_sync(lambda: at_standby.matching(asked), within_s=5)
    assert len(seen.matching(rf"Reply {R1} is-at")) == len(seen.matching(asked)), "one answer to each question"
    # The standby's own wire: questions arrive there, no answer leaves.
    assert not at_standby.matching(rf"^[0-9.]+ {mac} > ", rf"Reply {R1} is-at")
    assert site.fdb(mac) == f"x-{active}"


def test_a_gateway_that_had_to_give_its_router_away_no_longer_answers_for_it(breakable: Site) -> None:
    site = breakable
    active, standby = site.active("r1"), site.standby("r1")
    mac = site.api.get("/v1/objects/Router/r1")["assigned"]["mac"]
    assert site.cli("gateway", "move", "r1", "--to", standby, "--wait").status == 0
    try:
        eventually_sync(lambda: site.fdb(mac) == f"x-{standby}", within_s=5)
        with site.capture(active, "eth1", "arp") as at_former, site.capture(standby, "eth1", "arp") as at_new:
            site.outside.run(["ip", "neighbour", "flush", "all"])
            eventually_sync(lambda: ping(site.outside, R1), within_s=5)
            eventually_sync(lambda: at_new.matching(rf"^[0-9.]+ {mac} > ", rf"Reply {R1} is-at {mac}"), within_s=5)
        # It hears the question (flooded to it), and its own wire carries no answer of its own.
        assert at_former.matching(rf"Request who-has {R1} ")
        assert not at_former.matching(rf"^[0-9.]+ {mac} > ", rf"Reply {R1} is-at")
    finally:
        site.cli("gateway", "move", "r1", "--to", active, "--wait")


async def test_an_ovn_controller_that_is_stopped_cleanly_hands_over_at_once(breakable: Site) -> None:
    site = breakable
    active, standby = site.active("r1"), site.standby("r1")
    sockets = [f"unix:{site.lab.node(name).path('/run/ovn/ovnsb_db.sock')}" for name in CENTRALS]
    async with GatewayWatch(sockets, PORT) as watch:
        with Load(site.lab, [Stream(name="snat", node="n1", workload="vm1", target=OUTSIDE)]) as load:
            load.wait_flowing(timeout_s=60)
            site.controller(active, "exit")
            await eventually(lambda: standby in {claim.chassis for claim in watch.history}, within_s=15)
            await eventually(lambda: ping(site.workload("vm1"), OUTSIDE), within_s=10)
            record = load.stop()[0][0]
    gap = largest(record, record.sent[0][1], record.received[-1][1])
    print("outage_ms", gap.ms)  # noqa: T201 - `pytest -rP` shows it
    assert gap.ms < 5000


def test_a_workload_that_sends_too_much_is_told_what_fits_by_its_router(site: Site) -> None:
    vm1 = site.workload("vm1")
    try:
        # A workload that does not believe DHCP.
        vm1.run(["ip", "link", "set", "eth0", "mtu", "1500"]).checked()
        vm1.run(["ip", "route", "flush", "cache"])
        told = re.compile(r"Frag needed and DF set \(mtu = 1442\)|mtu ?= ?1442")
        eventually_sync(lambda: told.search(ping_output(vm1, OUTSIDE, size=1500)[1]), within_s=10)
        assert not ping(vm1, OUTSIDE, size=1500)
        eventually_sync(lambda: ping(vm1, OUTSIDE, size=1442), within_s=5)
    finally:
        vm1.run(["ip", "link", "set", "eth0", "mtu", "1442"])
        vm1.run(["ip", "route", "flush", "cache"])


def test_ports_of_the_routers_own_address_are_forwarded_while_it_translates(site: Site) -> None:
    vms = ((2222, "vm1"), (2223, "vm2"))
    ports = [{"port": port, "targets": [{"port": vm, "target_port": 8080}]} for port, vm in vms]
    spec = {"network": "public", "address": R1, "ports": ports}
    site.apply(json.dumps({"kind": "LoadBalancer", "name": "ssh", "spec": spec}))
    try:
        with serving(site.workload("vm1")), serving(site.workload("vm2")), serving(site.outside):
            for port, _ in vms:
                eventually_sync(lambda port=port: asked(site.outside, R1, str(port)) == OUTSIDE, within_s=15)
            # SNAT behind the same address goes on.
            eventually_sync(lambda: asked(site.workload("vm1"), OUTSIDE, "8080") == R1, within_s=15)
            eventually_sync(lambda: ping(site.workload("vm1"), OUTSIDE), within_s=10)
            # The router itself still answers.
            eventually_sync(lambda: ping(site.outside, R1), within_s=10)
            assert asked(site.outside, R1, "8080") == "", "what is not forwarded stays closed"

            # A target may have an address of its own as well, also one that is translated without any state.
            floating = {"network": "public", "port": "vm1", "address": "172.16.0.152", "stateless": True}
            site.apply(json.dumps({"kind": "FloatingIP", "name": "moving", "spec": floating}))
            eventually_sync(lambda: asked(site.outside, "172.16.0.152", "8080") == OUTSIDE, within_s=15)
            eventually_sync(lambda: asked(site.outside, R1, "2222") == OUTSIDE, within_s=15)
    finally:
        there = {item["name"] for item in site.api.get("/v1/objects", query={"kind": "FloatingIP"})["objects"]}
        site.delete(("LoadBalancer", "ssh"), *((("FloatingIP", "moving"),) if "moving" in there else ()))


def asked(place: Node | Workload, address: str, port: str) -> str:
    """Who the server thinks its client is; "" when there was no answer."""
    done = place.run(["timeout", "3", "python3", "-c", CLIENT, address, port], timeout_s=10)
    return done.stdout.strip() if done.ok else ""


def tracked(site: Site, address: str) -> list[str]:
    """Connections with an address that gateways track."""
    said = [site.lab.node(name).run(["ovs-appctl", "dpctl/dump-conntrack"], timeout_s=10).stdout for name in GATEWAYS]
    return [line for text in said for line in text.splitlines() if address in line]


@pytest.mark.parametrize(("stateless", "address"), [(True, "172.16.0.150"), (False, "172.16.0.151")])
def test_gateways_track_no_connection_of_a_stateless_floating_ip(site: Site, stateless: bool, address: str) -> None:
    spec = {"network": "public", "port": "vm1", "address": address, "stateless": stateless}
    site.apply(json.dumps({"kind": "FloatingIP", "name": "moving", "spec": spec}))
    try:
        with site.capture("outside", "eth0", "icmp") as seen:
            eventually_sync(lambda: ping(site.outside, address), within_s=15)
            eventually_sync(lambda: ping(site.workload("vm1"), OUTSIDE), within_s=5)
            eventually_sync(lambda: seen.matching(rf"{address} > {OUTSIDE}: ICMP echo request"), within_s=5)
        assert bool(tracked(site, address)) is not stateless
    finally:
        site.delete(("FloatingIP", "moving"))
