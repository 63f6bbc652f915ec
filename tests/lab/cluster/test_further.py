"""A router with two external networks: a gateway for each, and packets that leave where they should."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.lab.cluster.site import OUTSIDE, OUTSIDE_VLAN, VLAN, Site, ping
from tests.waiting import eventually_sync

from ovenbird.drill.load import Load, Stream
from ovenbird.drill.outage import largest

pytestmark = pytest.mark.lab

FAR_CLIENT, FLOATING = "203.0.113.1", "10.101.0.50"
MAIN = {"network": "public"}
FURTHER = {"network": "tenant-uplink", "address": "10.101.0.40"}
BEHIND = """\
{kind: Network, name: two-ways, spec: {cidr: 192.168.9.0/24, router: r2}}
---
{kind: Port, name: vm8, spec: {network: two-ways}}
---
{kind: Port, name: vm9, spec: {network: two-ways}}
"""
INWARD = f"{{kind: FloatingIP, name: inward, spec: {{network: tenant-uplink, port: vm9, address: {FLOATING}}}}}"
PLACES = {"vm8": "n1", "vm9": "n2"}
CLEANUP = [("FloatingIP", "inward"), ("Port", "vm8"), ("Port", "vm9"), ("Network", "two-ways")]


def router(site: Site, *further: dict[str, str]) -> None:
    spec = {"external": MAIN, "further": list(further), "gateways": {"failback_delay_s": 5}}
    site.apply(json.dumps({"kind": "Router", "name": "r2", "spec": spec}))


@pytest.fixture
def two_ways(site: Site) -> Iterator[Site]:
    """The cluster with workloads behind r2, which has one external network, and a client far away."""
    site.apply(BEHIND)
    for port, node in PLACES.items():
        spec = {"type": "namespace", "address": "static"}
        site.api.post("/v1/attachments", {"port": port, "node": node, "spec": spec})
    site.outside.run(["ip", "addr", "add", f"{FAR_CLIENT}/32", "dev", "lo"]).checked()
    try:
        yield site
    finally:
        site.outside.run(["ip", "addr", "del", f"{FAR_CLIENT}/32", "dev", "lo"])
        for port in PLACES:
            site.api.delete(f"/v1/attachments/{port}")
        there = {(item["kind"], item["name"]) for item in site.api.get("/v1/objects")["objects"]}
        site.delete(*(key for key in CLEANUP if key in there))
        router(site)
        site.settled()


def first_leg(site: Site) -> list[object]:
    """Everything in NB of the leg that was there first."""
    return [
        site.nb(
            "Logical_Router_Port", "_uuid", "name", "mac", "networks", "ha_chassis_group", where=["name=r2_public"]
        ),
        site.nb("HA_Chassis_Group", "_uuid", "name", "ha_chassis", where=["name=r2"]),
        site.nb(
            "NAT",
            "_uuid",
            "external_ip",
            "logical_ip",
            where=["logical_ip=192.168.9.0/24", f"external_ip={own(site)[0]}"],
        ),
    ]


def own(site: Site) -> list[str]:
    assigned = site.api.get("/v1/objects/Router/r2")["assigned"]
    return [assigned["address"], *assigned.get("others", ())]


def test_a_second_external_network_beside_the_first(two_ways: Site) -> None:
    site = two_ways
    vm8, vm9 = (site.lab.node(node).workload(port) for port, node in PLACES.items())
    eventually_sync(lambda: ping(vm8, OUTSIDE), within_s=20)
    eventually_sync(lambda: ping(vm9, OUTSIDE), within_s=20)
    before = first_leg(site)
    with Load(site.lab, [Stream(name="snat", node="n1", workload="vm8", target=OUTSIDE)]) as load:
        assert load.wait_flowing(timeout_s=60) == ()
        router(site, FURTHER)
        site.apply(INWARD)
        eventually_sync(lambda: site.bound_to("cr-r2_tenant-uplink"), within_s=10)
        eventually_sync(lambda: ping(vm8, OUTSIDE_VLAN), within_s=20)
        record = load.stop()[0][0]
    gap = largest(record, record.sent[0][1], record.received[-1][1])
    print("gap_ms", gap.ms)  # noqa: T201 - `pytest -rP` shows it
    assert gap.ms < 1000
    assert first_leg(site) == before, "the leg that carries traffic is not touched"

    # Each leg has a list of its own, and is moved by itself.
    other = next(name for name in ("g1", "g2") if name != site.bound_to("cr-r2_public"))
    # One that was unfit a while ago is held down, and nothing is moved to it.
    move = ("gateway", "move", "r2_tenant-uplink", "--to", other, "--wait")
    eventually_sync(lambda: site.cli(*move).status == 0, within_s=90, every_s=1)
    eventually_sync(lambda: site.bound_to("cr-r2_tenant-uplink") == other, within_s=10)
    assert site.bound_to("cr-r2_public") != other

    with site.capture("outside", "eth0", "icmp or (vlan and icmp)") as seen:
        # Out: translated to the address of the leg that it leaves by.
        eventually_sync(lambda: ping(vm8, OUTSIDE_VLAN), within_s=10)
        eventually_sync(lambda: ping(vm8, OUTSIDE), within_s=10)
        eventually_sync(lambda: seen.matching(rf"{own(site)[1]} > {OUTSIDE_VLAN}: ICMP echo request"), within_s=5)
        eventually_sync(lambda: seen.matching(rf"{own(site)[0]} > {OUTSIDE}: ICMP echo request"), within_s=5)
        # In, from the network itself and from far behind it: the answer leaves where the question came in.
        eventually_sync(lambda: ping(site.outside, FLOATING, options=["-I", OUTSIDE_VLAN]), within_s=10)
        eventually_sync(lambda: ping(site.outside, FLOATING, options=["-I", FAR_CLIENT]), within_s=10)
        answer = rf"{FLOATING} > {FAR_CLIENT}: ICMP echo reply"
        eventually_sync(lambda: seen.matching(answer), within_s=5)
    assert all(f"vlan {VLAN}," in line for line in seen.matching(answer))
    assert not seen.matching(r"192\.168\.9\.")

    # One network less: what belongs to it goes, and nothing else.
    site.delete(("FloatingIP", "inward"))
    router(site)
    eventually_sync(
        lambda: not site.sb("Port_Binding", "logical_port", where=["logical_port=cr-r2_tenant-uplink"]), within_s=10
    )
    assert first_leg(site) == before
    eventually_sync(lambda: ping(vm8, OUTSIDE), within_s=10)
