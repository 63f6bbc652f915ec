"""A gateway that takes a router tells the physical network at once, again and again, and only while it carries it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.lab.cluster.gateway_watch import GatewayWatch
from tests.lab.cluster.site import CENTRALS, FLOATING, OUTSIDE, OUTSIDE_VLAN, R1, Site, seconds_of
from tests.waiting import eventually

pytestmark = pytest.mark.lab

FIRST_WITHIN_S = 2.0
"""After the claim. In a planned move they wait until hosts that send are let go, 1.5 s at most; else some 10 ms."""
HANDED_OVER_S = 3.0
"""A gateway that has lost a router goes on with it for at most that long."""
BALANCED = "172.16.0.155"
REPEATED = 5
"""Within two seconds; OVN itself sends at 1 s and at 3 s."""


@pytest.fixture
def site(breakable: Site) -> Iterator[Site]:
    """The cluster, with r1 at home again after the test."""
    home = breakable.active("r1")
    yield breakable
    assert breakable.cli("gateway", "move", "r1", "--to", home, "--wait", "--force").status == 0


@pytest.fixture
def balanced(site: Site) -> Iterator[Site]:
    """The same, with a load balancer behind r1."""
    spec = {"network": "public", "address": BALANCED, "ports": [{"port": 80, "targets": [{"port": "vm1"}]}]}
    site.apply(json.dumps({"kind": "LoadBalancer", "name": "announced", "spec": spec}))
    assert site.cli("wait").status == 0
    yield site
    site.delete(("LoadBalancer", "announced"))


async def test_each_address_is_announced_at_once_and_repeatedly(balanced: Site) -> None:
    site = balanced
    mac = site.api.get("/v1/objects/Router/r1")["assigned"]["mac"]
    before, after = site.active("r1"), site.standby("r1")
    sockets = [f"unix:{site.lab.node(name).path('/run/ovn/ovnsb_db.sock')}" for name in CENTRALS]
    async with GatewayWatch(sockets, "cr-r1_public") as watch:
        with site.capture("outside", "eth0", "arp") as seen:
            assert site.cli("gateway", "move", "r1", "--to", after, "--wait").status == 0
            claim = await watch.wait_for({after}, timeout_s=10)
            times: dict[str, list[float]] = {}

            def repeated() -> bool:
                for address in (R1, FLOATING, BALANCED):
                    words = (f"^[0-9.]+ {mac} > ff:ff:ff:ff:ff:ff", f"Request who-has {address} tell {address}")
                    times[address] = [seconds_of(line) - claim.at_ns / 1e9 for line in seen.matching(*words)]
                return all(len([at for at in found if at < 2.5]) >= REPEATED for found in times.values())

            await eventually(repeated, within_s=10)
            print("announced after the claim, s", times)  # noqa: T201 - `pytest -rP` shows it
            assert all(found[0] < FIRST_WITHIN_S for found in times.values()), times
            assert site.fdb(mac) == f"x-{after}"
        assert before != after


async def test_who_lost_the_router_is_silent(site: Site) -> None:
    mac = site.api.get("/v1/objects/Router/r1")["assigned"]["mac"]
    before, after = site.active("r1"), site.standby("r1")
    assert site.cli("gateway", "move", "r1", "--to", after, "--wait").status == 0
    # The one that has lost it is in the middle of its own announcements when it loses it again.
    assert site.cli("gateway", "move", "r1", "--to", before, "--wait").status == 0
    # For a moment it still forwards, and answers, what somebody sends to it: no packet is lost by the move.
    gone_s = time.time() + HANDED_OVER_S
    out = ("-Q", "out", "arp", "and", "ether", "src", mac)
    with site.capture(after, "eth1", *out) as loser, site.capture(before, "eth1", *out) as winner:
        await eventually(lambda: [line for line in winner.lines if seconds_of(line) > gone_s], within_s=90)
        assert site.active("r1") == before
    late = [line for line in loser.lines if seconds_of(line) > gone_s]
    assert late == []


def claim(site: Site, gateway: str, mac: str) -> dict[str, Any]:
    """What the agent of a gateway says of an address that it has taken; nothing if it has not."""
    found: dict[str, Any] = site.facts(gateway)["outside"]["claims"].get(mac, {})
    return found


async def test_the_outside_is_asked_until_its_answer_comes_here(site: Site) -> None:
    mac = site.api.get("/v1/objects/Router/r1")["assigned"]["mac"]
    before, after = site.active("r1"), site.standby("r1")
    await eventually(lambda: site.cli("gateway", "move", "r1", "--to", after, "--wait").status == 0, within_s=40)
    await eventually(lambda: claim(site, after, mac).get("state") == "answered", within_s=30)
    told = claim(site, after, mac)
    print("answered after the claim, ms", told["answered_ms"])  # noqa: T201 - `pytest -rP` shows it
    assert (told["address"], told["next_hop"]) == (R1, OUTSIDE)
    assert 0 <= told["answered_ms"] < 5000
    await eventually(lambda: claim(site, before, mac) == {}, within_s=10)
    in_vlan = site.api.get("/v1/objects/Router/tenant")["assigned"]["mac"]
    await eventually(lambda: claim(site, site.active("tenant"), in_vlan).get("state") == "answered", within_s=30)
    assert claim(site, site.active("tenant"), in_vlan)["next_hop"] == OUTSIDE_VLAN
    with site.unheard(f"ether type arp arp saddr ether {mac}"):
        assert site.cli("gateway", "move", "r1", "--to", before, "--wait").status == 0

        def is_missed() -> bool:
            reasons = [one for one in site.status().get("reasons", ()) if one["rule"] == "gateway.not_learnt"]
            return any(before in one["message"] and R1 in one["message"] for one in reasons)

        await eventually(is_missed, within_s=30)
        assert site.status()["verdict"] == "degraded"
    await eventually(lambda: claim(site, before, mac).get("state") == "answered", within_s=90)
    site.settled()
