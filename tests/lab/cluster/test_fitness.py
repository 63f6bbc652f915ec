"""A gateway that BFD finds well is not: its uplink, its next hop or its ovn-controller fails. Judged by packets."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from tests.lab.cluster.gateway_watch import GatewayWatch
from tests.lab.cluster.site import CENTRALS, GATEWAYS, OUTSIDE, R1, Site, ping
from tests.lab.cluster.test_failover import PORTS, flows, outages_ms, traffic
from tests.lab.cluster.test_failover import STREAMS as THROUGH
from tests.waiting import eventually, eventually_sync

from ovenbird.lab.faults import Fault, Kill, LinkDown, NextHopCut, Stop

pytestmark = pytest.mark.lab

MOVED_WITHIN_MS = 3000
REPAIRED_WITHIN_S = 3.0
HOLD_DOWN_S = 3.0
"""As the lab file has it."""
FAILBACK_S = 5.0
"""As the site declares it of its routers."""
STALL_S = 0.9
"""Longer than a next hop that answers may be silent until it counts as dead."""
BUSY_S = 2.0
"""What a busy machine may add to what a test waits for."""


def expect_shown(site: Site, gateway: str, what: str) -> None:
    def told() -> bool:
        reasons = [one["message"] for one in site.status()["reasons"] if one["rule"] == "gateway.bad"]
        members = {one["chassis"]: one["unfit"] for one in site.router("r1")["gateways"]}
        return any(gateway in one and what in one for one in reasons) and what in members[gateway]

    eventually_sync(told, within_s=5)
    assert what in site.cli("describe", "router", "r1").out


def test_an_ovn_controller_that_is_killed_is_started_again_and_nothing_moves(breakable: Site) -> None:
    site = breakable
    active = site.active("r1")
    killed_s = time.time()
    Kill(lab=site.lab, node=active, daemon="ovn-controller").inject()
    # The network changes, and only the active gateway's ovn-controller can make it so.
    address = "172.16.0.150"
    site.apply(f"kind: FloatingIP\nname: later\nspec: {{network: public, port: vm1, address: {address}}}\n")
    try:
        eventually_sync(lambda: ping(site.outside, address), within_s=REPAIRED_WITHIN_S + 10)
        took_s = time.time() - killed_s
    finally:
        site.delete(("FloatingIP", "later"))
    print("took_s", took_s)  # noqa: T201 - `pytest -rP` shows it
    assert took_s < 4 * REPAIRED_WITHIN_S, "far below what a gateway is given whose agent is heard no more"
    assert site.bound_to(PORTS["r1"]) == active


def test_an_ovn_controller_that_hangs_is_replaced_and_then_no_longer_trusted(breakable: Site) -> None:
    site = breakable
    active, standby = site.active("r1"), site.standby("r1")
    hung = site.lab.node(active).daemon("ovn-controller")
    with traffic(site) as load:
        fault_ns = time.time_ns()
        Stop(lab=site.lab, node=active, daemon="ovn-controller").inject()
        # The network changes, and only the active gateway's ovn-controller can make it so.
        address = "172.16.0.150"  # vm1 has no other
        site.apply(f"kind: FloatingIP\nname: later\nspec: {{network: public, port: vm1, address: {address}}}\n")
        stopped_s = fault_ns / 1e9
        try:
            eventually_sync(lambda: ping(site.outside, address), within_s=REPAIRED_WITHIN_S + 10)
            took_s = time.time() - stopped_s
        finally:
            site.delete(("FloatingIP", "later"))
        outages = outages_ms(load.stop()[0], fault_ns, time.time_ns())
    print("took_s", took_s, "outages_ms", outages)  # noqa: T201 - `pytest -rP` shows it
    assert took_s < REPAIRED_WITHIN_S + BUSY_S
    assert all(outage < 1000 for outage in outages.values()), outages
    assert site.bound_to(PORTS["r1"]) == active, "repaired in place: nothing had to move"
    eventually_sync(lambda: site.lab.node(active).daemon("ovn-controller") != hung, within_s=5)

    Stop(lab=site.lab, node=active, daemon="ovn-controller").inject()
    eventually_sync(lambda: site.bound_to(PORTS["r1"]) == standby, within_s=15)
    eventually_sync(lambda: ping(site.workload("vm1"), OUTSIDE), within_s=5)
    # "it hung 2 times", or on a busy machine "it hangs" for longer than its agent is given to repair it.
    expect_shown(site, active, "ovn-controller: it h")
    sent, received = answers(site, R1)
    # The last request may come too late for its answer; two gateways would make nearly twice as many answers.
    assert 1 < received <= sent, "one gateway answers, and the other has stopped"


@pytest.mark.parametrize(("kind", "what"), [("uplink", "eth1 has no carrier"), ("next hop", "does not answer ARP")])
async def test_a_gateway_without_a_way_out_loses_its_routers_and_gets_them_back_once(
    breakable: Site, kind: str, what: str
) -> None:
    site = breakable
    await eventually(lambda: site.is_at_home("r1"), within_s=60)
    active, standby = site.active("r1"), site.standby("r1")
    fault: Fault = (
        LinkDown(lab=site.lab, node=active, interface="eth1")
        if kind == "uplink"
        else NextHopCut(lab=site.lab, node=active)
    )
    sockets = [f"unix:{site.lab.node(name).path('/run/ovn/ovnsb_db.sock')}" for name in CENTRALS]
    async with GatewayWatch(sockets, PORTS["r1"]) as watch:
        await eventually(lambda: watch.chassis == active, within_s=10)
        with traffic(site) as load:
            fault_ns = time.time_ns()
            fault.inject()
            fault.verify_injected()
            await eventually(lambda: watch.chassis == standby, within_s=10)
            await eventually(lambda: flows(site, THROUGH["r1"][0]), within_s=10)
            expect_shown(site, active, what)
            outages = outages_ms(load.stop()[0], fault_ns, time.time_ns())
            told = await eventually(lambda: estimated(site, active, standby, fault_ns // 1_000_000), within_s=20)
            healed_s = time.monotonic()
            fault.heal()
        await eventually(lambda: watch.chassis == active, within_s=4 * HOLD_DOWN_S + FAILBACK_S + 20)
        assert time.monotonic() - healed_s >= HOLD_DOWN_S
        # A release and a claim each: what counts is who claimed, in order.
        claims = [claim.chassis for claim in watch.history if claim.at_ns > fault_ns and claim.chassis]
    print("outages_ms", outages, told)  # noqa: T201 - `pytest -rP` shows it
    assert told["outage_ms"] >= told["detected_ms"] > 100, "from the last good measurement to the answer of the outside"
    assert all(0 < outage < MOVED_WITHIN_MS for outage in outages.values()), outages
    assert [one for at, one in enumerate(claims) if at == 0 or one != claims[at - 1]] == [standby, active]


def test_a_next_hop_that_nobody_reaches_moves_nothing(breakable: Site) -> None:
    site = breakable
    fault = LinkDown(lab=site.lab, node="outside", interface="eth0")
    fault.inject()
    eventually_sync(lambda: silent_on(site) >= set(GATEWAYS), within_s=10)
    active = site.bound_to(PORTS["r1"])
    until_s = time.monotonic() + 4
    while time.monotonic() < until_s:
        assert site.bound_to(PORTS["r1"]) == active
    fault.heal()
    eventually_sync(lambda: ping(site.workload("vm1"), OUTSIDE), within_s=10)
    assert site.bound_to(PORTS["r1"]) == active


def estimated(site: Site, lost: str, carrier: str, since_ms: int) -> dict[str, Any]:
    """What the history says of the change for unfitness since then, once it says how long that was felt."""
    changes = site.api.get("/v1/gateways/history", query={"router": "r1"})["changes"]
    found = next((one for one in changes if (one["from"], one["to"], one["cause"]) == (lost, carrier, "unfit")), {})
    return found if found.get("outside") == "answered" and found["at_ms"] >= since_ms else {}


def silent_on(site: Site) -> set[str]:
    """Gateways whose agent finds the next hop silent."""
    return {one["name"] for one in site.status().get("fitness", ()) if any(OUTSIDE in bad for bad in one["bad"])}


def answers(site: Site, address: str) -> tuple[int, int]:
    """Return how many ARP requests were sent from outside, and how many answers came."""
    argv = ["arping", "-b", "-w", "3", "-I", "br-trunk", address]
    said = site.outside.run(argv, timeout_s=10).stdout
    sent, received = re.findall(r"Sent (\d+) probes|Received (\d+) response", said)
    return int(sent[0]), int(received[1])


def test_a_switch_that_stalls_is_not_taken_for_a_dead_next_hop(breakable: Site) -> None:
    site = breakable
    node = site.lab.node(site.standby("r1"))
    log = node.logs()["agent"]
    told = len(log.read_text().splitlines())

    def changed(what: str) -> list[str]:
        lines = [json.loads(line) for line in log.read_text().splitlines()[told:]]
        return [one["state"] for one in lines if one["event"] == "fitness.changed" and one["what"].startswith(what)]

    fault = Stop(lab=site.lab, node=node.name, daemon="vswitchd")
    fault.inject()
    until_s = time.monotonic() + STALL_S
    eventually_sync(lambda: time.monotonic() > until_s and changed("ovs-vswitchd"), within_s=10)
    fault.heal()
    eventually_sync(lambda: changed("ovs-vswitchd")[-1] == "ok", within_s=10)
    assert "bad" not in changed("next hop"), "what asks and what would answer passes through the switch"


def test_what_an_ovn_controller_that_cannot_be_started_again_left_behind_answers_no_more(breakable: Site) -> None:
    """Last of these: its agent waits ever longer until it starts one again."""
    site = breakable
    active, standby = site.active("r1"), site.standby("r1")
    mac = site.api.get("/v1/objects/Router/r1")["assigned"]["mac"]
    node, program = site.lab.node(active), "/usr/bin/ovn-controller"

    def is_silent() -> bool:
        with site.capture(active, "eth1", "-Q", "out", f"ether src {mac}") as said:
            for _ in range(3):
                site.outside.run(["ip", "neighbour", "flush", "all"])
                ping(site.outside, R1)
        return not said.lines

    node.run(["mount", "--bind", "/bin/false", program], timeout_s=10).checked()
    try:
        Kill(lab=site.lab, node=active, daemon="ovn-controller").inject()
        eventually_sync(lambda: site.bound_to(PORTS["r1"]) == standby, within_s=30)
        # Its flows stay: nobody takes them away.
        eventually_sync(is_silent, within_s=20)
        eventually_sync(lambda: ping(site.outside, R1), within_s=10)
        assert f"dl_dst={mac}" in node.run(["ovs-ofctl", "dump-flows", "br-int", "table=8"], timeout_s=10).stdout
    finally:
        node.run(["umount", program], timeout_s=10).checked()
