"""A gateway that comes back while nobody acts takes nothing from one that carries it, and all if it is needed."""

from __future__ import annotations

import time

import pytest
from tests.lab.cluster.site import CENTRALS, GATEWAYS, OUTSIDE, R1, ROUTERS, Site, ping, quiet
from tests.lab.cluster.test_switch_restart import serving
from tests.waiting import eventually_sync

from ovenbird.lab.faults import Fault, PowerOff

pytestmark = pytest.mark.lab

PREEMPTED_WITHIN_S = 6.0
"""One that did not wait would have been let go, and seen, by then."""


def power_off(site: Site, *nodes: str) -> list[Fault]:
    faults: list[Fault] = [PowerOff(lab=site.lab, node=node) for node in nodes]
    for fault in faults:
        fault.inject()
    return faults


def on_copy(site: Site, gateway: str) -> bool:
    """Whether that gateway's ovn-controller works with a copy of SB."""
    (row,) = quiet(lambda: site.vswitch(gateway, "Open_vSwitch", "external_ids"))
    return str(row["external_ids"].get("ovn-remote", "")).startswith("unix:")


def serves(site: Site, gateway: str) -> bool:
    """Whether the ovs-vswitchd that runs there has been let go."""
    now = site.lab.node(gateway).pids().get("ovs-vswitchd")
    return now is not None and quiet(lambda: serving(site, gateway))[0] == str(now.inner_pid)


def has_flows(site: Site, gateway: str) -> bool:
    """Whether its ovn-controller has made flows: nothing but the order keeps it from serving."""
    said = site.lab.node(gateway).run(["ovs-ofctl", "dump-aggregate", "br-int"], timeout_s=10).stdout
    return "flow_count" in said and "flow_count=0" not in said


def changes(site: Site, router: str, since_ms: int) -> list[tuple[str, str, str]]:
    """Return what the history says of a router since then: from, to and why."""
    told = quiet(lambda: site.api.get("/v1/gateways/history", query={"router": router})["changes"])
    return [(one["from"], one["to"], one["cause"]) for one in told if one["at_ms"] >= since_ms]


def test_beside_a_starting_central_tier_it_waits_for_the_order_and_alone_until_it_is_needed(breakable: Site) -> None:
    site = breakable
    lost = site.active("r1")
    (other,) = (name for name in GATEWAYS if name != lost)
    others_own = next(router for router in ROUTERS if site.active(router) == other)
    mac, others_mac = (site.api.get(f"/v1/objects/Router/{name}")["assigned"]["mac"] for name in ("r1", others_own))
    centrals = power_off(site, *CENTRALS)
    eventually_sync(lambda: all(on_copy(site, gateway) for gateway in GATEWAYS), within_s=30)
    (fault,) = power_off(site, lost)
    eventually_sync(lambda: ping(site.workload("vm1"), OUTSIDE) and site.fdb(mac) == f"x-{other}", within_s=20)

    # Alone: it is ready, and the other one still carries the router.
    fault.heal()
    eventually_sync(lambda: on_copy(site, lost) and has_flows(site, lost), within_s=60)
    until_s = time.monotonic() + PREEMPTED_WITHIN_S
    while time.monotonic() < until_s:
        assert ping(site.outside, R1), "the gateway that carries it goes on"
        assert site.fdb(mac) == f"x-{other}"
        assert not serves(site, lost)

    # It is needed, and nobody is there to say so.
    began_s = time.monotonic()
    (second,) = power_off(site, other)
    eventually_sync(lambda: ping(site.workload("vm1"), OUTSIDE) and site.fdb(mac) == f"x-{lost}", within_s=60)

    print("needed_s", time.monotonic() - began_s)  # noqa: T201 - `pytest -rP` shows it

    # The other one comes back with all the rest, and first for what was its own: by the order of before.
    healed_ms = int(1000 * time.time())
    for each in (second, *centrals):
        each.heal()

    eventually_sync(lambda: on_copy(site, other) or has_flows(site, other), within_s=60)
    until_s = time.monotonic() + 180
    while not serves(site, other):
        assert time.monotonic() < until_s
        assert ping(site.outside, R1), "the gateway that carries it goes on"
        assert site.fdb(others_mac) == f"x-{lost}" or serves(site, other), "it took what another carries"
    # It gets back what is its own by a planned move, and has not taken it.
    eventually_sync(lambda: (lost, other, "failback") in changes(site, others_own, healed_ms), within_s=60)
