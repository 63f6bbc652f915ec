"""An external network that gateways reach by routing: the way there moves with what carries the router.

    outside 192.0.2.1                                    BIRD, AS 64600
       | r-g1 10.98.1.0/30          | r-g2 10.98.2.0/30
      g1                           g2                    BIRD, AS 64601; no layer 2 between them
    net 172.20.0.0/24, next hop 172.20.0.254 on both     r1: blue vm1 (floating IP), vm2 (SNAT); r2: green vm3

Judged by packets, and by the routes that the outside host's kernel has.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.lab.cluster.site import Site, ping, quiet
from tests.lab.cluster.test_failover import outages_ms
from tests.waiting import eventually_sync

from ovenbird.drill.load import Load, Stream
from ovenbird.lab.faults import Fault, Kill, LinkDown, PowerOff, Stop, heal
from ovenbird.lab.lab import Lab, remove
from ovenbird.lab.node import Node, Workload
from ovenbird.lab.readiness import wait_ready
from ovenbird.lab.spec import from_yaml

pytestmark = pytest.mark.lab

GATEWAYS = ("g1", "g2")
FAR, NEXT_HOP = "192.0.2.1", "172.20.0.254"
R1, R2, FLOATING, OTHER_FLOATING = "172.20.0.1", "172.20.0.2", "172.20.0.101", "172.20.0.102"
OF_R1 = (R1, FLOATING)
HOME = {"vm1": "n1", "vm2": "n1", "vm3": "n1"}
OUTAGE_LIMIT_MS = 5000
"""Far above what a failover takes, far below an outage without any."""
LAB_FILE = f"""
gateways: {{hold_down_s: 1}}
routed: true
outside: [{{address: {FAR}/24}}]
nodes:
  - {{name: c1, roles: [central]}}
  - {{name: g1, roles: [gateway], uplink: false}}
  - {{name: g2, roles: [gateway], uplink: false}}
  - {{name: n1, roles: [compute], uplink: false}}
"""
DECLARED = f"""
kind: ExternalNetwork
name: net
spec: {{physnet: routed, cidr: 172.20.0.0/24, gateway: {NEXT_HOP}, pool: [172.20.0.100-172.20.0.199]}}
---
kind: Router
name: r1
spec: {{external: {{network: net, address: {R1}}}, gateways: {{failback: manual}}}}
---
kind: Router
name: r2
spec: {{external: {{network: net, address: {R2}}}, gateways: {{failback: manual}}}}
---
kind: Network
name: blue
spec: {{cidr: 192.168.1.0/24, router: r1}}
---
kind: Network
name: green
spec: {{cidr: 192.168.2.0/24, router: r2}}
---
kind: Port
name: vm1
spec: {{network: blue}}
---
kind: Port
name: vm2
spec: {{network: blue}}
---
kind: Port
name: vm3
spec: {{network: green}}
---
kind: FloatingIP
name: one
spec: {{network: net, port: vm1, address: {FLOATING}}}
---
kind: FloatingIP
name: three
spec: {{network: net, port: vm3, address: {OTHER_FLOATING}}}
"""
STREAMS = (
    Stream(name="snat", node="n1", workload="vm2", target=FAR),
    Stream(name="floating-ip", node="n1", workload="vm1", target=FAR),
    Stream(name="from-outside", node="outside", workload="", target=FLOATING),
)


class Routed(Site):
    """The cluster, and what the outside host knows of it."""

    def central(self) -> Node:
        """Return the only one."""
        return self.lab.node("c1")

    def workload(self, name: str) -> Workload:
        """Return a workload."""
        return self.lab.node(HOME[name]).workload(name)

    def legs(self, address: str) -> set[str]:
        """Return the gateways that tell the outside host by BGP that they carry an address."""
        shown = self.outside.run(["birdc", "show", "route", "for", f"{address}/32", "all"], timeout_s=10).stdout
        return set(re.findall(rf"^(?:{re.escape(address)}/32)?\s+unicast \[(\S+) ", shown, re.MULTILINE))

    def sent_by(self, address: str) -> str:
        """Return the leg by which the outside host's kernel sends packets for an address; "" for none."""
        words = self.outside.run(["ip", "route", "get", address], timeout_s=10).stdout.split()
        return words[words.index("dev") + 1].removeprefix("r-") if "dev" in words else ""

    def led_to(self, gateway: str) -> bool:
        """Whether everything of r1 is told and sent by one gateway's leg alone, and answers both ways."""
        told = {address: (self.legs(address), self.sent_by(address)) for address in OF_R1}
        assert told == dict.fromkeys(OF_R1, ({gateway}, gateway))
        return self.flows()

    def flows(self) -> bool:
        """Whether packets pass in every way there is."""
        for stream in STREAMS:
            node = self.lab.node(stream.node)
            place = node.workload(stream.workload) if stream.workload else node
            assert ping(place, stream.target), stream.name
        return True

    def good(self) -> bool:
        """Whether all gateways are good and fit."""
        shown = {one["name"]: one for one in self.api.get("/v1/gateways")["gateways"]}
        assert all(shown[name]["good"] and not shown[name]["unfit"] for name in GATEWAYS), shown
        return True

    def whole(self) -> bool:
        """Whether the cluster is healthy and r1 is reached by whichever gateway carries it."""
        seen = self.status()
        assert seen["verdict"] == "healthy", [one["message"] for one in seen["reasons"]]
        return self.good() and self.led_to(self.active("r1"))

    @contextmanager
    def traffic(self) -> Iterator[Load]:
        """Let packets flow in every way."""
        with Load(self.lab, STREAMS) as load:
            eventually_sync(lambda: all(load.received(stream.name) for stream in STREAMS), within_s=20)
            yield load


@pytest.fixture(scope="module")
def running() -> Iterator[Routed]:
    name = f"routed-{os.getpid()}"
    try:
        site = Routed(Lab.create(from_yaml(LAB_FILE, name=name)))
        wait_ready(site.lab, timeout_s=90, progress=lambda _line: None)
        site.apply(DECLARED)
        for port, node in HOME.items():
            spec = {"type": "namespace", "address": "dhcp"}
            site.api.post("/v1/attachments", {"port": port, "node": node, "spec": spec})
        yield site
    finally:
        remove(name)


@pytest.fixture
def site(running: Routed) -> Routed:
    """The cluster, whole; faults of the test before are healed."""
    heal(running.lab)
    running.lab.up()
    eventually_sync(lambda: quiet(running.whole), within_s=60, every_s=0.2)
    return running


def other(gateway: str) -> str:
    return next(name for name in GATEWAYS if name != gateway)


def test_workloads_and_the_outside_reach_each_other_across_subnets(site: Routed) -> None:
    active = site.active("r1")
    with site.capture("outside", f"r-{active}", "icmp") as seen:
        assert ping(site.workload("vm2"), FAR)
        assert ping(site.workload("vm1"), FAR)
        for source in OF_R1:
            eventually_sync(lambda source=source: seen.matching(rf"{source} > {FAR}"), within_s=10)
    assert not site.legs(NEXT_HOP), "the next hop is the gateways' own, and nobody's but theirs"
    assert not site.legs("172.20.0.150"), "what nobody has is not told"
    # What comes late to the one that carries it no more goes back upstream, and not the host's own ways.
    late = ["ip", "route", "get", R1, "from", FAR, "iif", "eth2"]
    assert f"via {site.lab.spec.legs[GATEWAYS.index(other(active))].neighbor} " in (
        site.lab.node(other(active)).run(late, timeout_s=10).stdout
    )
    shown = site.cli("gateway", "list").out
    assert all(re.search(rf"^{name}\b", shown, re.MULTILINE) for name in GATEWAYS), shown


def test_routers_of_one_network_reach_each_other_wherever_they_are(site: Routed) -> None:
    """Beside each other they share a bridge; on two gateways there is no layer 2 between them."""

    def reach() -> bool:
        assert ping(site.workload("vm2"), OTHER_FLOATING), "by SNAT to the other's floating IP"
        assert ping(site.workload("vm3"), FLOATING), "by floating IP"
        return True

    for to in (site.active("r1"), other(site.active("r1")), site.active("r1")):
        site.cli("gateway", "move", "r2", "--to", to, "--wait")
        eventually_sync(lambda to=to: site.active("r2") == to and site.sent_by(R2) == to, within_s=20)
        eventually_sync(lambda: quiet(reach), within_s=20)


def test_a_drain_moves_the_route(site: Routed) -> None:
    active, standby = site.active("r1"), other(site.active("r1"))
    with site.traffic() as load:
        start_ns = time.time_ns()
        done = site.cli("gateway", "drain", active, "--wait")
        assert done.status == 0, done
        eventually_sync(lambda: quiet(lambda: site.led_to(standby)), within_s=20)
        outages = outages_ms(load.stop()[0], start_ns, time.time_ns())
    assert site.cli("gateway", "undrain", active).status == 0
    print("outages_ms", outages)  # noqa: T201 - `pytest -rP` shows it
    assert all(outage < OUTAGE_LIMIT_MS for outage in outages.values()), outages


@pytest.mark.parametrize("kind", ["vswitchd", "leg", "bird hangs", "power"])
def test_when_the_active_gateway_fails_the_other_one_s_leg_leads_to_the_router(site: Routed, kind: str) -> None:
    active, standby = site.active("r1"), other(site.active("r1"))
    fault: Fault = {
        "vswitchd": lambda: Kill(lab=site.lab, node=active, daemon="vswitchd"),
        "leg": lambda: LinkDown(lab=site.lab, node=active, interface="eth2"),
        "bird hangs": lambda: Stop(lab=site.lab, node=active, daemon="bird"),
        "power": lambda: PowerOff(lab=site.lab, node=active),
    }[kind]()
    with site.traffic() as load:
        start_ns = time.time_ns()
        fault.inject()
        fault.verify_injected()
        eventually_sync(lambda: quiet(lambda: site.led_to(standby)), within_s=20)
        if kind == "leg":
            eventually_sync(lambda: active in site.cli("status").out, within_s=10)
        outages = outages_ms(load.stop()[0], start_ns, time.time_ns())
    print(kind, "outages_ms", outages)  # noqa: T201 - `pytest -rP` shows it
    assert all(0 < outage < OUTAGE_LIMIT_MS for outage in outages.values()), outages


def test_a_bird_that_is_killed_is_started_again_and_routes_come_back(site: Routed) -> None:
    active = site.active("r1")
    fault = Kill(lab=site.lab, node=active, daemon="bird")
    fault.inject()
    eventually_sync(fault.is_back, within_s=10)
    eventually_sync(lambda: quiet(lambda: site.led_to(site.active("r1"))), within_s=30)
