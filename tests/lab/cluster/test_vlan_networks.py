"""Networks that are VLANs of a physical network, and a router that needs no tunnel: judged by what is on the wire."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab.cluster.site import OUTSIDE, Site, ping, ping_output
from tests.waiting import eventually_sync

from ovenbird.lab.faults import Kill
from ovenbird.lab.node import Workload
from ovenbird.plan.switch import chassis_mac

pytestmark = pytest.mark.lab

EXAMPLE = Path(__file__).parents[3] / "examples/vlan-networks.yaml"
PLACES = {"rack-web1": "n1", "rack-web2": "n2", "rack-db1": "n2"}
WEB1, WEB2, DB1 = "192.168.21.11", "192.168.21.12", "192.168.22.11"
FLOATING, DISTRIBUTED = "172.16.0.121", "172.16.0.122"
FULL_MTU = 1500
DECLARED = [
    ("FloatingIP", "rack-web1-public"),
    ("FloatingIP", "rack-db1-public"),
    *(("Port", port) for port in PLACES),
    ("Network", "rack-web"),
    ("Network", "rack-db"),
    ("Router", "rack"),
]


@pytest.fixture(scope="module")
def racks(whole: Site) -> Iterator[Site]:
    """The cluster with the example's networks and workloads."""
    declared = EXAMPLE.read_text(encoding="utf-8")
    whole.apply(declared.replace("redirect: bridged", "redirect: bridged, failback_delay_s: 5"))
    for port, node in PLACES.items():
        spec = {"type": "namespace", "address": "dhcp"}
        whole.api.post("/v1/attachments", {"port": port, "node": node, "spec": spec})
    try:
        yield whole
    finally:
        for port in PLACES:
            whole.api.delete(f"/v1/attachments/{port}")
        whole.delete(*DECLARED)
        whole.settled()


def vm(site: Site, port: str) -> Workload:
    return site.lab.node(PLACES[port]).workload(port)


def test_full_frames_pass_everywhere_without_a_tunnel(racks: Site) -> None:
    web1 = vm(racks, "rack-web1")
    ways = {"same network": WEB2, "other network": DB1, "outside": OUTSIDE}
    for target in ways.values():
        eventually_sync(lambda target=target: ping(web1, target, size=FULL_MTU), within_s=30)
    assert web1.run(["cat", "/sys/class/net/eth0/mtu"]).stdout.strip() == str(FULL_MTU)
    # BFD goes through Geneve all the time; workloads' packets are longer than its own.
    with racks.capture("n1", "eth0", "udp port 6081 and greater 200") as tunnelled:
        for target in ways.values():
            eventually_sync(lambda target=target: ping(web1, target, size=FULL_MTU), within_s=10)
        for address in (FLOATING, DISTRIBUTED):
            eventually_sync(lambda address=address: ping(racks.outside, address, size=FULL_MTU), within_s=20)
    assert tunnelled.lines == []


def test_between_hosts_a_router_sends_with_the_hosts_own_address(racks: Site) -> None:
    web1 = vm(racks, "rack-web1")
    eventually_sync(lambda: ping(web1, DB1), within_s=30)
    with (
        racks.capture("outside", "eth0", "icmp or (vlan and icmp)") as flooded,
        racks.capture("n2", "eth1", "vlan and icmp") as seen,
    ):
        eventually_sync(lambda: ping(web1, DB1), within_s=10)
        eventually_sync(lambda: seen.matching(DB1, "echo request"), within_s=5)
        eventually_sync(lambda: ping(web1, WEB2), within_s=10)
        eventually_sync(lambda: seen.matching(WEB2, "echo request"), within_s=5)
    (routed, *_), (switched, *_) = seen.matching(DB1, "echo request"), seen.matching(WEB2, "echo request")
    assert chassis_mac("n1", "ext_vlans") in routed
    assert "vlan 202," in routed
    assert "vlan 201," in switched
    assert chassis_mac("n1", "ext_vlans") not in switched, "the workload's own address"
    assert not flooded.matching(WEB2, "echo request"), "the switches know where the workload is"


def test_the_way_out_is_over_the_external_network_to_the_active_gateway(racks: Site) -> None:
    web2 = vm(racks, "rack-web2")
    eventually_sync(lambda: ping(web2, OUTSIDE), within_s=30)
    gateway = racks.active("rack")
    with racks.capture(gateway, "eth1", "icmp or (vlan and icmp)") as seen:
        eventually_sync(lambda: ping(web2, OUTSIDE), within_s=10)
        eventually_sync(lambda: seen.matching(f"{OUTSIDE} > {WEB2}", "echo reply"), within_s=5)
    (redirected, *_) = seen.matching(f"{WEB2} > {OUTSIDE}", "echo request")
    assert chassis_mac("n2", "ext") in redirected
    assert "vlan" not in redirected
    (translated, *_) = seen.matching(f"> {OUTSIDE}: ICMP echo request")[1:]
    assert racks.api.get("/v1/objects/Router/rack")["assigned"]["mac"] in translated.partition(" > ")[0]
    (back, *_) = seen.matching(f"{OUTSIDE} > {WEB2}", "echo reply")
    assert "vlan 201," in back
    assert chassis_mac(gateway, "ext_vlans") in back


def test_another_gateway_takes_over(racks: Site, breakable: Site) -> None:
    web2 = vm(racks, "rack-web2")
    eventually_sync(lambda: ping(web2, OUTSIDE), within_s=30)
    gateway = racks.active("rack")
    fault = Kill(lab=racks.lab, node=gateway, daemon="vswitchd")
    fault.inject()
    eventually_sync(lambda: racks.active("rack") not in ("", gateway), within_s=20)
    eventually_sync(lambda: ping(web2, OUTSIDE, size=FULL_MTU), within_s=20)
    eventually_sync(lambda: ping(racks.outside, FLOATING, size=FULL_MTU), within_s=20)


def test_hosts_that_cannot_are_refused(racks: Site) -> None:
    racks.api.delete("/v1/attachments/rack-web2")
    refused, at_gateway = (racks.cli("port", "attach", "rack-web2", "--node", node) for node in ("g3", "g1"))
    again = racks.cli("port", "attach", "rack-web2", "--node", PLACES["rack-web2"], "--wait")
    assert refused.status == 3
    assert "Port/rack-web2 cannot be on g3: g3 has no uplink to ext" in refused.err
    assert "Network/rack-web is VLAN 201 of ext" in refused.err
    assert at_gateway.status == 3
    assert "a standby gateway would send with the active one's MAC address" in at_gateway.err
    assert again.status == 0, again.err


def test_what_is_too_big_is_answered(racks: Site) -> None:
    web1 = vm(racks, "rack-web1")
    eventually_sync(lambda: ping(web1, OUTSIDE), within_s=30)
    status, said = ping_output(web1, OUTSIDE, size=FULL_MTU + 1)
    assert status != 0
    assert "message too long" in said
