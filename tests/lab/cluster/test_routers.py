"""Routers of a whole cluster: who carries them, whose address is seen outside, and what needs no gateway at all."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.lab.cluster.site import (
    ADDRESS,
    CHASSIS,
    COMPUTES,
    DISTRIBUTED,
    FLOATING,
    GATEWAYS,
    OUTSIDE,
    R1,
    ROUTERS,
    Site,
    ping,
)
from tests.waiting import eventually_sync

from ovenbird.drill.load import Load, Stream
from ovenbird.lab.faults import PowerOff
from ovenbird.model.cluster import Timers

pytestmark = pytest.mark.lab
TIMERS, NORMAL = ("min-rx", "min-tx", "mult"), Timers.NORMAL.bfd

TUNNELS_WITH_BFD = {frozenset(GATEWAYS)} | {frozenset((gateway, host)) for gateway in GATEWAYS for host in COMPUTES}


def groups(site: Site) -> dict[str, list[tuple[str, int]]]:
    """Chassis and priorities of every router's HA chassis group, most wanted first."""
    members = {
        row["_uuid"]: (row["chassis_name"], row["priority"])
        for row in site.nb("HA_Chassis", "_uuid", "chassis_name", "priority")
    }
    found = {}
    for row in site.nb("HA_Chassis_Group", "name", "ha_chassis"):
        of_group = row["ha_chassis"] if isinstance(row["ha_chassis"], list) else [row["ha_chassis"]]
        found[row["name"]] = sorted((members[uuid] for uuid in of_group), key=lambda member: -member[1])
    return found


def bindings(site: Site) -> dict[str, str]:
    """Per router the chassis that SB has its gateway port bound to."""
    chassis = {row["_uuid"]: row["name"] for row in site.sb("Chassis", "_uuid", "name")}
    ports = site.sb("Port_Binding", "logical_port", "chassis", where=["type=chassisredirect"])
    return {
        row["logical_port"].removeprefix("cr-").rpartition("_")[0]: chassis[row["chassis"]]
        for row in ports
        if row["chassis"]
    }


def test_a_gateway_port_is_bound_to_its_most_wanted_chassis(site: Site) -> None:
    found = groups(site)
    assert bindings(site) == {name: found[name][0][0] for name in ROUTERS}


def test_routers_are_spread_over_all_suitable_gateways_and_no_other_host(site: Site) -> None:
    found = groups(site)
    assert all({chassis for chassis, _ in found[name]} == set(GATEWAYS) for name in ROUTERS)
    for members in found.values():
        priorities = [priority for _, priority in members]
        assert len(set(priorities)) == len(priorities), "equal priorities would be decided by name"
    leaders = Counter(bindings(site).values())
    assert max(leaders[name] for name in GATEWAYS) - min(leaders[name] for name in GATEWAYS) <= 1


def test_a_router_that_names_no_gateway_gets_all_and_evens_the_load(site: Site) -> None:
    text = "".join(f"---\nkind: Router\nname: extra{i}\nspec: {{external: {{network: public}}}}\n" for i in (1, 2, 3))
    site.apply(text)
    try:
        eventually_sync(lambda: len(bindings(site)) == len(ROUTERS) + 3, within_s=10)
        found = groups(site)
        assert all({chassis for chassis, _ in found[f"extra{i}"]} == set(GATEWAYS) for i in (1, 2, 3))
        leaders = Counter(bindings(site).values())
        assert sorted(leaders.values()) == [3, 4]
    finally:
        site.delete(*(("Router", f"extra{i}") for i in (1, 2, 3)))
    eventually_sync(lambda: set(bindings(site)) == set(ROUTERS), within_s=10)


def test_bfd_runs_on_the_tunnels_that_gateways_need_and_on_no_other(site: Site) -> None:
    def sessions() -> bool:
        states, (options,) = {}, site.nb("NB_Global", "options")
        timers = {f"bfd-{key}": options["options"][f"bfd-{key}"] for key in TIMERS}
        assert int(timers["bfd-min-rx"]) >= NORMAL.min_rx_ms, "the policy's, or slower on a busy machine"
        for name in CHASSIS:
            for row in site.vswitch(name, "Interface", "name", "bfd", "bfd_status", where=["type=geneve"]):
                peer = row["name"].removeprefix("ovn-").rpartition("-")[0]
                if row["bfd"].get("enable") == "true":
                    states[name, peer] = row["bfd_status"].get("state")
                    assert {f"bfd-{key}": row["bfd"].get(key.replace("-", "_")) for key in TIMERS} == timers
        assert {frozenset(pair) for pair in states} == TUNNELS_WITH_BFD
        assert len(states) == 2 * len(TUNNELS_WITH_BFD), "at both ends"
        assert set(states.values()) == {"up"}
        return True

    eventually_sync(sessions, within_s=10)


def test_outside_sees_the_routers_address_and_never_a_workloads(site: Site) -> None:
    with site.capture("outside", "eth0", "icmp") as seen:
        eventually_sync(lambda: ping(site.workload("vm1"), OUTSIDE), within_s=5)
        eventually_sync(lambda: seen.matching("echo reply"), within_s=5)
    assert seen.matching(rf"{R1} > {OUTSIDE}: ICMP echo request")
    assert not seen.matching(r"192\.168\.")


def test_a_floating_ip_translates_both_ways(site: Site) -> None:
    for address, vm in ((FLOATING, "vm2"), (DISTRIBUTED, "vm3")):
        inside = site.lab.node("n2").workload(vm)
        with site.capture("outside", "eth0", "icmp") as seen:
            eventually_sync(lambda inside=inside: ping(inside, OUTSIDE), within_s=5)
            eventually_sync(lambda address=address: ping(site.outside, address), within_s=5)
            for words in (
                rf"{address} > {OUTSIDE}: ICMP echo request",
                rf"{OUTSIDE} > {address}: ICMP echo request",
                rf"{address} > {OUTSIDE}: ICMP echo reply",
            ):
                eventually_sync(lambda words=words: seen.matching(words), within_s=5)
        assert not seen.matching(r"192\.168\.")


def test_a_distributed_floating_ip_leaves_on_its_workloads_own_host(site: Site) -> None:
    assigned = site.api.get("/v1/objects/FloatingIP/on-host")["assigned"]
    with site.capture("n2", "eth1", "icmp", "and", "host", DISTRIBUTED) as seen:
        eventually_sync(lambda: ping(site.outside, DISTRIBUTED), within_s=5)
        eventually_sync(lambda: seen.matching(rf"{DISTRIBUTED} > {OUTSIDE}: ICMP echo reply"), within_s=5)
    assert seen.matching(f"{assigned['mac']} > ", "echo reply")
    assert site.fdb(assigned["mac"]) == "x-n2"


def test_without_any_gateway_networks_still_meet_and_distributed_addresses_still_answer(breakable: Site) -> None:
    site = breakable
    streams = [
        Stream(name="east-west", node="n1", workload="vm1", target=ADDRESS["vm2"]),
        Stream(name="from-outside", node="outside", workload="", target=DISTRIBUTED),
        Stream(name="to-outside", node="n2", workload="vm3", target=OUTSIDE),
        Stream(name="snat", node="n1", workload="vm1", target=OUTSIDE),
    ]
    for stream in streams:
        place = site.lab.node(stream.node)
        place = place.workload(stream.workload) if stream.workload else place
        eventually_sync(lambda place=place, stream=stream: ping(place, stream.target), within_s=5)
    with Load(site.lab, streams, interval_ms=10) as load:
        for gateway in GATEWAYS:
            fault = PowerOff(lab=site.lab, node=gateway)
            fault.inject()
            fault.verify_injected()
        eventually_sync(lambda: not ping(site.workload("vm1"), OUTSIDE), within_s=5)

        def down() -> bool:
            seen = site.status()
            assert seen["verdict"] == "down", [one["message"] for one in seen["reasons"]]
            assert {one["rule"] for one in seen["reasons"] if one["verdict"] == "down"} == {"router.no_gateway"}
            return True

        eventually_sync(down, within_s=30)
        records = {record.name: record for record in load.stop()[0]}
    for name in ("east-west", "from-outside", "to-outside"):
        assert len(records[name].sent) > 50, name
        assert records[name].lost() <= len(records[name].sent) // 100, name
    assert records["snat"].lost() > 20, "the gateways were really gone"
