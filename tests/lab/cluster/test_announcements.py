"""A gateway that takes a router tells the physical network at once, again and again, and only while it carries it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from tests.lab.cluster.gateway_watch import GatewayWatch
from tests.lab.cluster.site import CENTRALS, FLOATING, R1, Site, seconds_of
from tests.waiting import eventually

pytestmark = pytest.mark.lab

FIRST_WITHIN_S = 0.7
"""OVN's own begin a second after the claim. Ours take some 10 ms."""
HANDED_OVER_S = 3.0
"""A gateway that has lost a router goes on with it for at most that long."""
REPEATED = 5
"""Within two seconds; OVN itself sends at 1 s and at 3 s."""


@pytest.fixture
def site(breakable: Site) -> Iterator[Site]:
    """The cluster, with r1 at home again after the test."""
    home = breakable.active("r1")
    yield breakable
    assert breakable.cli("gateway", "move", "r1", "--to", home, "--wait", "--force").status == 0


async def test_each_address_is_announced_at_once_and_repeatedly(site: Site) -> None:
    mac = site.api.get("/v1/objects/Router/r1")["assigned"]["mac"]
    before, after = site.active("r1"), site.standby("r1")
    sockets = [f"unix:{site.lab.node(name).path('/run/ovn/ovnsb_db.sock')}" for name in CENTRALS]
    async with GatewayWatch(sockets, "cr-r1_public") as watch:
        with site.capture("outside", "eth0", "arp") as seen:
            assert site.cli("gateway", "move", "r1", "--to", after, "--wait").status == 0
            claim = await watch.wait_for({after}, timeout_s=10)
            times: dict[str, list[float]] = {}

            def repeated() -> bool:
                for address in (R1, FLOATING):
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
