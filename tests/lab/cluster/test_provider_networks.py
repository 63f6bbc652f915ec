"""The way to the physical network: bridge mappings, VLAN tags, packet sizes. Judged by what is on the wire."""

from __future__ import annotations

import pytest
from tests.lab.cluster.site import (
    ADDRESS,
    CHASSIS,
    DISTRIBUTED,
    FLOATING,
    HOME,
    OUTSIDE,
    OUTSIDE_VLAN,
    R1,
    VLAN,
    Site,
    ping,
    ping_output,
)
from tests.waiting import eventually_sync

pytestmark = pytest.mark.lab
PATCH = "patch-public_localnet-to-br-int"
WORKLOAD_MTU = 1442
"""What an underlay of 1500 leaves for a packet in Geneve: less 20 IPv4, 8 UDP, 16 Geneve with option, 14 Ethernet."""


def test_chassis_with_an_uplink_have_the_mapping_and_the_patch_pair(site: Site) -> None:
    mappings = {
        row["name"]: row["other_config"].get("ovn-bridge-mappings", "")
        for row in site.sb("Chassis", "name", "other_config")
    }
    assert mappings == {name: "ext:br-ext,ext_vlans:br-ext" if name != "g3" else "" for name in CHASSIS}

    for router, localnet in (("r1", "public_localnet"), ("tenant", "tenant-uplink_localnet")):
        gateway = site.active(router)
        patches = {
            row["name"]: row["options"]["peer"]
            for row in site.vswitch(gateway, "Interface", "name", "options", where=["type=patch"])
        }
        ours = {
            row["name"]
            for row in site.vswitch(gateway, "Port", "name", where=[f"external_ids:ovn-localnet-port={localnet}"])
        }
        assert len(ours) == 2
        assert all(patches[port] in ours for port in ours), "the two ends are each other's peer"
        bridges = {site.lab.node(gateway).run(["ovs-vsctl", "port-to-br", port]).stdout.strip() for port in ours}
        assert bridges == {"br-int", "br-ext"}


def test_a_lost_patch_port_of_the_active_gateway_is_put_back(breakable: Site) -> None:
    site = breakable
    gateway = site.lab.node(site.active("r1"))
    eventually_sync(lambda: ping(site.workload("vm1"), OUTSIDE), within_s=10)
    before = site.vswitch(gateway.name, "Interface", "_uuid", where=[f"name={PATCH}"])
    gateway.run(["ovs-vsctl", "--timeout=5", "del-port", "br-ext", PATCH], timeout_s=10).checked(subject="del-port")
    eventually_sync(
        lambda: site.vswitch(gateway.name, "Interface", "_uuid", where=[f"name={PATCH}"]) not in ([], before),
        within_s=10,
    )
    eventually_sync(lambda: ping(site.workload("vm1"), OUTSIDE), within_s=10)


def test_frames_of_a_vlan_network_are_tagged_on_the_wire_and_others_are_not(site: Site) -> None:
    with site.capture("outside", "eth0", "icmp or (vlan and icmp)") as seen:
        eventually_sync(lambda: ping(site.workload("vm4"), OUTSIDE_VLAN), within_s=10)
        eventually_sync(lambda: ping(site.workload("vm1"), OUTSIDE), within_s=10)
        for words in ((OUTSIDE_VLAN, "request"), (OUTSIDE_VLAN, "reply"), (OUTSIDE, "request"), (OUTSIDE, "reply")):
            eventually_sync(lambda words=words: seen.matching(*words), within_s=5)
    assert all(f"vlan {VLAN}," in line for line in seen.matching(OUTSIDE_VLAN))
    assert not any("vlan" in line for line in seen.matching(OUTSIDE))


def test_dhcp_tells_the_size_that_passes_and_it_passes_everywhere(site: Site) -> None:
    for vm in HOME:
        assert site.workload(vm).run(["cat", "/sys/class/net/eth0/mtu"]).stdout.strip() == str(WORKLOAD_MTU)
    paths = {
        "same network, other host": ("vm1", ADDRESS["vm3"]),
        "other network, other host": ("vm1", ADDRESS["vm2"]),
        "SNAT through the gateway": ("vm1", OUTSIDE),
        "floating IP on the gateway": ("vm2", OUTSIDE),
        "floating IP on the host": ("vm3", OUTSIDE),
        "VLAN": ("vm4", OUTSIDE_VLAN),
    }
    for vm, target in paths.values():
        # Eventually: the very first packet through a tunnel of the userspace datapath is lost to its ARP lookup.
        eventually_sync(lambda vm=vm, target=target: ping(site.workload(vm), target, size=WORKLOAD_MTU), within_s=5)
    status, said = ping_output(site.workload("vm1"), OUTSIDE, size=WORKLOAD_MTU + 1)
    assert status != 0
    assert "message too long" in said


def test_what_is_too_big_from_outside_is_answered_with_the_size_that_fits(site: Site) -> None:
    router = {FLOATING: R1, DISTRIBUTED: DISTRIBUTED}
    for address, answers in router.items():
        site.outside.run(["ip", "route", "flush", "cache"])
        eventually_sync(lambda address=address: ping(site.outside, address, size=WORKLOAD_MTU), within_s=5)
        told = f"From {answers} icmp_seq=1 Frag needed and DF set (mtu = {WORKLOAD_MTU})"
        eventually_sync(
            lambda address=address, told=told: told in ping_output(site.outside, address, size=1500)[1], within_s=10
        )
        # Told once, the sender cuts its packets: they arrive.
        free = ["ping", "-n", "-c1", "-W1", "-M", "dont", "-s", "1472", address]
        eventually_sync(lambda free=free: site.outside.run(free, timeout_s=10).ok, within_s=10)
        site.outside.run(["ip", "route", "flush", "cache"])
