"""A gateway's ovs-vswitchd that starts again, by whomever, gets no traffic before it has its flows."""

from __future__ import annotations

import signal
import time

import pytest
from tests.lab.cluster.site import GATEWAYS, Site
from tests.lab.cluster.test_failover import OUTAGE_LIMIT_MS, STREAMS, flows, outages_ms, traffic
from tests.waiting import eventually_sync

from ovenbird.lab.faults import Kill, Partition

pytestmark = pytest.mark.lab


def serving(site: Site, node: str) -> tuple[str, bool]:
    """Return the pid of the ovs-vswitchd that was let go, and whether the next one is to wait."""
    (row,) = site.vswitch(node, "Open_vSwitch", "other_config", "external_ids")
    pid = row["external_ids"].get("ovenbird-serving", "").partition(" ")[0]
    return pid, row["other_config"].get("flow-restore-wait") == "true"


def test_one_that_its_own_monitor_starts_again_is_held_and_let_go(breakable: Site) -> None:
    site = breakable
    active = site.active("r1")
    victim = site.lab.node(active).daemon("vswitchd")
    assert serving(site, active) == (str(victim.inner_pid), True)
    with traffic(site) as load:
        start_ns = time.time_ns()
        Kill(lab=site.lab, node=active, daemon="vswitchd", number_of_signal=signal.SIGSEGV).inject()
        eventually_sync(lambda: serving(site, active)[0] not in ("", str(victim.inner_pid)), within_s=30)
        eventually_sync(lambda: all(flows(site, stream) for stream in STREAMS["r1"]), within_s=20)
        outages = outages_ms(load.stop()[0], start_ns, time.time_ns())
    now = site.lab.node(active).daemon("vswitchd")
    eventually_sync(lambda: serving(site, active) == (str(now.inner_pid), True), within_s=20)
    print("outages_ms", outages)  # noqa: T201 - `pytest -rP` shows it
    assert all(outage < OUTAGE_LIMIT_MS for outage in outages.values()), outages


def controller(site: Site, node: str) -> str:
    """Return whether ovn-controller is running or paused, by its own word."""
    words = 'ovn-appctl -t "/run/ovn/ovn-controller.$(cat /run/ovn/ovn-controller.pid).ctl" debug/status'
    return site.lab.node(node).run(["sh", "-c", words]).stdout.strip()


def test_one_that_comes_back_decides_nothing_before_it_sees_the_other_gateways(breakable: Site) -> None:
    site = breakable
    active = site.active("r1")
    (standby,) = (name for name in GATEWAYS if name != active)
    apart = Partition(lab=site.lab, nodes=(active,), peers=(standby,), plane="data")
    apart.inject()
    Kill(lab=site.lab, node=active, daemon="vswitchd").inject()
    eventually_sync(lambda: controller(site, active) == "paused", within_s=40)
    apart.heal()
    eventually_sync(lambda: controller(site, active) == "running", within_s=40)
    eventually_sync(lambda: all(flows(site, stream) for stream in STREAMS["r1"]), within_s=40)
