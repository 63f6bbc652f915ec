"""A router's gateway is lost: traffic moves to the standby, and the physical network is told."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from tests.lab.cluster.gateway_watch import GatewayWatch
from tests.lab.cluster.site import CENTRALS, FLOATING, OUTSIDE, OUTSIDE_VLAN, VLAN, Capture, Site, ping, seconds_of
from tests.waiting import eventually, eventually_sync

from ovenbird.drill.load import Load, Stream
from ovenbird.drill.outage import Record, largest
from ovenbird.lab.faults import Fault, Kill, LinkDown, PowerOff

pytestmark = pytest.mark.lab

OUTAGE_LIMIT_MS = 5000
"""Far above what failover takes (about 0.7 s with BFD at 200 ms x 3), far below an outage without any."""
ANNOUNCED_WITHIN_S = 5.0
"""ovn-controller announces 1 s after it has claimed a port; BFD's detection comes before that."""
STREAMS = {
    "r1": (
        Stream(name="snat", node="n1", workload="vm1", target=OUTSIDE),
        Stream(name="floating-ip", node="n2", workload="vm2", target=OUTSIDE),
        Stream(name="from-outside", node="outside", workload="", target=FLOATING),
    ),
    "tenant": (Stream(name="vlan", node="n1", workload="vm4", target=OUTSIDE_VLAN),),
}
PORTS = {"r1": "cr-r1_public", "tenant": "cr-tenant_tenant-uplink"}


@contextmanager
def traffic(site: Site, router: str = "r1") -> Iterator[Load]:
    """Let packets flow through a router's gateway in every way that there is."""
    for stream in STREAMS[router]:
        eventually_sync(lambda stream=stream: flows(site, stream), within_s=10)
    with Load(site.lab, STREAMS[router]) as load:
        yield load


def flows(site: Site, stream: Stream) -> bool:
    node = site.lab.node(stream.node)
    return ping(node.workload(stream.workload) if stream.workload else node, stream.target)


def passed(load: Load, since_ns: int, *, packets: int = 300, router: str = "r1") -> None:
    """Wait until every stream has delivered so many packets (300: 1.5 s of a steady stream) after a moment."""

    def have() -> bool:
        counts = {
            stream.name: sum(at_ns > since_ns for _, at_ns in load.received(stream.name)) for stream in STREAMS[router]
        }
        assert min(counts.values()) >= packets, counts
        return True

    eventually_sync(have, within_s=20, every_s=0.2)


def outages_ms(records: Sequence[Record], start_ns: int, end_ns: int) -> dict[str, float]:
    return {record.name: largest(record, start_ns, end_ns).ms for record in records}


def fail(site: Site, fault: Fault, *, router: str = "r1", active: str, standby: str) -> int:
    """Inject a fault on the active gateway and wait until the standby carries the router; return when it was."""
    fault_ns = time.time_ns()
    fault.inject()
    fault.verify_injected()
    eventually_sync(lambda: site.bound_to(PORTS[router]) == standby != active, within_s=15, every_s=0.02)
    return fault_ns


def since(moment_ns: int, seen: Capture, *words: str) -> list[str]:
    return [line for line in seen.matching(*words) if seconds_of(line) > moment_ns / 1e9]


async def test_killed_vswitchd(breakable: Site) -> None:
    site = breakable
    active, standby = site.active("r1"), site.standby("r1")
    victim = site.lab.node(active).daemon("vswitchd")
    sockets = [f"unix:{site.lab.node(name).path('/run/ovn/ovnsb_db.sock')}" for name in CENTRALS]
    # The daemon is back within a second: a poll could miss the time in between, the history does not.
    async with GatewayWatch(sockets, PORTS["r1"]) as watch:
        with traffic(site) as load:
            fault = Kill(lab=site.lab, node=active, daemon="vswitchd")
            fault_ns = time.time_ns()
            fault.inject()
            fault.verify_injected()
            await eventually(lambda: standby in {claim.chassis for claim in watch.history}, within_s=15)
            await eventually(lambda: watch.chassis == active, within_s=30)
            await eventually(lambda: flows(site, STREAMS["r1"][0]), within_s=10)
            end_ns = time.time_ns()
            outages = outages_ms(load.stop()[0], fault_ns, end_ns)
    assert site.lab.node(active).daemon("vswitchd") != victim
    print("outages_ms", outages)  # noqa: T201 - `pytest -rP` shows it
    assert all(0 < outage < OUTAGE_LIMIT_MS for outage in outages.values()), outages


def test_lost_tunnel_network(breakable: Site) -> None:
    site = breakable
    active, standby = site.active("r1"), site.standby("r1")
    with traffic(site) as load:
        fault_ns = fail(site, LinkDown(lab=site.lab, node=active, interface="eth0"), active=active, standby=standby)
        eventually_sync(lambda: ping(site.workload("vm1"), OUTSIDE), within_s=10)
        end_ns = time.time_ns()
        outages = outages_ms(load.stop()[0], fault_ns, end_ns)
    print("outages_ms", outages)  # noqa: T201 - `pytest -rP` shows it
    assert all(0 < outage < OUTAGE_LIMIT_MS for outage in outages.values()), outages


@pytest.mark.parametrize(("router", "tag"), [("r1", ""), ("tenant", f"vlan {VLAN},")])
def test_lost_host_is_replaced_and_the_physical_network_is_told(breakable: Site, router: str, tag: str) -> None:
    site = breakable
    active, standby = site.active(router), site.standby(router)
    assigned = site.api.get(f"/v1/objects/Router/{router}")["assigned"]
    mac = assigned["mac"]
    assert site.fdb(mac) == f"x-{active}"
    # The router's own address, and a floating IP that lives on its gateway.
    addresses = [assigned["address"], *([FLOATING] if router == "r1" else [])]
    with traffic(site, router) as load, site.capture("outside", "eth0", "arp or (vlan and arp)") as seen:
        fault_ns = fail(site, PowerOff(lab=site.lab, node=active), router=router, active=active, standby=standby)
        delays_s = {}
        for address in addresses:
            words = (f"^[0-9.]+ {mac} > ff:ff:ff:ff:ff:ff", tag, f"Request who-has {address} tell {address}")
            # The gateway that is lost may have announced just before, as it does once a minute.
            first = eventually_sync(lambda words=words: since(fault_ns, seen, *words), within_s=ANNOUNCED_WITHIN_S)[0]
            delays_s[address] = seconds_of(first) - fault_ns / 1e9
            assert ("vlan" in first) == bool(tag)
        assert site.fdb(mac) == f"x-{standby}"
        eventually_sync(lambda: flows(site, STREAMS[router][0]), within_s=10)
        end_ns = time.time_ns()
        outages = outages_ms(load.stop()[0], fault_ns, end_ns)
    print("first_announcement_s", delays_s)  # noqa: T201 - `pytest -rP` shows it
    print("outages_ms", outages)  # noqa: T201 - `pytest -rP` shows it
    assert all(0 < delay < ANNOUNCED_WITHIN_S for delay in delays_s.values()), delays_s
    assert all(0 < outage < OUTAGE_LIMIT_MS for outage in outages.values()), outages
    assert mac in site.outside.run(["ip", "neighbour", "show", addresses[0]]).stdout
