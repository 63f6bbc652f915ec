"""A router's gateway is lost: traffic moves to the standby, and the physical network is told."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from tests.lab.cluster.site import FLOATING, OUTSIDE, R1, Site, ping, seconds_of
from tests.waiting import eventually_sync

from ovenbird.drill.load import Load, Stream
from ovenbird.drill.outage import Record, largest
from ovenbird.lab.faults import Fault, Kill, LinkDown, PowerOff

pytestmark = pytest.mark.lab

OUTAGE_LIMIT_MS = 5000
"""Far above what failover takes (about 0.7 s with BFD at 200 ms x 3), far below an outage without any."""
ANNOUNCED_WITHIN_S = 5.0
"""ovn-controller announces 1 s after it has claimed a port; BFD's detection comes before that."""
STREAMS = (
    Stream(name="snat", node="n1", workload="vm1", target=OUTSIDE),
    Stream(name="floating-ip", node="n2", workload="vm2", target=OUTSIDE),
    Stream(name="from-outside", node="outside", workload="", target=FLOATING),
)


@contextmanager
def traffic(site: Site) -> Iterator[Load]:
    """Let packets flow through r1's gateway in every way that there is."""
    for place, target in ((site.workload("vm1"), OUTSIDE), (site.workload("vm2"), OUTSIDE), (site.outside, FLOATING)):
        eventually_sync(lambda place=place, target=target: ping(place, target), within_s=10)
    with Load(site.lab, STREAMS) as load:
        yield load


def outages_ms(records: Sequence[Record], start_ns: int, end_ns: int) -> dict[str, float]:
    return {record.name: largest(record, start_ns, end_ns).ms for record in records}


def fail(site: Site, fault: Fault, *, active: str, standby: str) -> int:
    """Inject a fault on the active gateway and wait until the standby carries r1; return when it was injected."""
    fault_ns = time.time_ns()
    fault.inject()
    fault.verify_injected()
    eventually_sync(lambda: site.bound_to("cr-r1_public") == standby != active, within_s=15, every_s=0.02)
    return fault_ns


def test_killed_vswitchd(breakable: Site) -> None:
    site = breakable
    active, standby = site.active("r1"), site.standby("r1")
    victim = site.lab.node(active).daemon("vswitchd")
    with traffic(site) as load:
        fault_ns = fail(site, Kill(lab=site.lab, node=active, daemon="vswitchd"), active=active, standby=standby)
        # It comes back by itself, and so does the router; the traffic survives that too.
        eventually_sync(lambda: site.bound_to("cr-r1_public") == active, within_s=30)
        eventually_sync(lambda: ping(site.workload("vm1"), OUTSIDE), within_s=10)
        end_ns = time.time_ns()
        outages = outages_ms(load.stop(), fault_ns, end_ns)
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
        outages = outages_ms(load.stop(), fault_ns, end_ns)
    print("outages_ms", outages)  # noqa: T201 - `pytest -rP` shows it
    assert all(0 < outage < OUTAGE_LIMIT_MS for outage in outages.values()), outages


def test_lost_host_is_replaced_and_the_physical_network_is_told(breakable: Site) -> None:
    site = breakable
    active, standby = site.active("r1"), site.standby("r1")
    mac = site.api.get("/v1/objects/Router/r1")["assigned"]["mac"]
    assert site.fdb(mac) == f"x-{active}"
    with traffic(site) as load, site.capture("outside", "eth0", "arp") as seen:
        fault_ns = fail(site, PowerOff(lab=site.lab, node=active), active=active, standby=standby)
        delays_s = {}
        for address in (R1, FLOATING):  # the router's own address, and a floating IP that lives on the gateway
            words = (f"^[0-9.]+ {mac} > ff:ff:ff:ff:ff:ff", f"Request who-has {address} tell {address}")
            first = eventually_sync(lambda words=words: seen.matching(*words), within_s=ANNOUNCED_WITHIN_S)[0]
            delays_s[address] = seconds_of(first) - fault_ns / 1e9
        assert site.fdb(mac) == f"x-{standby}"
        eventually_sync(lambda: ping(site.workload("vm1"), OUTSIDE), within_s=10)
        end_ns = time.time_ns()
        outages = outages_ms(load.stop(), fault_ns, end_ns)
    print("first_announcement_s", delays_s)  # noqa: T201 - `pytest -rP` shows it
    print("outages_ms", outages)  # noqa: T201 - `pytest -rP` shows it
    assert all(0 < delay < ANNOUNCED_WITHIN_S for delay in delays_s.values()), delays_s
    assert all(0 < outage < OUTAGE_LIMIT_MS for outage in outages.values()), outages
    neighbours = site.outside.run(["ip", "neighbour", "show", R1]).stdout
    assert mac in neighbours
