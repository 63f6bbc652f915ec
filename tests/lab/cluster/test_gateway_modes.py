"""Shared lists, gateway routers, active-active routers: packets through each, and what the loss of a gateway does.

By IPv4 and by IPv6 at the same time: the networks behind have both.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from tests.lab.cluster.flows import flows
from tests.lab.cluster.site import DECLARED, DUAL_PUBLIC, OUTSIDE, OUTSIDE6, Site, own_address6, ping
from tests.waiting import eventually_sync

from ovenbird.lab.faults import Kill
from ovenbird.lab.node import Node, Workload

pytestmark = pytest.mark.lab

SHARED, PINNED, LEGS = ("front", "back"), "pinned", ("wide_1", "wide_2")
PINNED_ADDRESS, FLOATING, BALANCED = "172.16.0.140", "172.16.0.141", "172.16.0.142"
WIDE_FLOATING = "172.16.0.143"
TRANSIT = "169.254.64.2"
PINNED6, FLOATING6, BALANCED6, TRANSIT6 = "2001:db8::140", "2001:db8::141", "2001:db8::142", "fd6f:7665:6e62:40::2"
WIDE_FLOATING6, WIDE6 = "2001:db8::143", "2001:db8::144"
ROUTED6 = "2001:db8:21::/64"
"""Upstream routes this one to the gateway router; the active-active one's prefix is translated."""
FLOWS, FLOWS6 = 24, 12
FAR = tuple(f"203.0.113.{number}" for number in range(1, 13))
"""Addresses behind the outside host: OVN chooses a flow's gateway by its addresses."""
FAR6 = tuple(f"2001:db8:f::{number}" for number in range(1, 13))
REHOMED_MS = 10_000.0
"""BFD finds a lost gateway in 600 ms here, and the controller moves its routers within half a second more; the tight
figure is a drill's."""

MODES = f"""
{DUAL_PUBLIC}
---
kind: Router
name: front
spec: {{external: {{network: public}}, gateways: {{mode: shared, failback_delay_s: 5}}}}
---
kind: Router
name: back
spec: {{external: {{network: public}}, gateways: {{mode: shared, failback_delay_s: 5}}}}
---
kind: Router
name: pinned
spec:
  external: {{network: public, address: {PINNED_ADDRESS}, address6: "{PINNED6}"}}
  gateways: {{mode: gateway-router, failback_delay_s: 5}}
---
kind: Network
name: pinned-net
spec: {{cidr: 192.168.21.0/24, cidr6: "{ROUTED6}", router: pinned}}
---
kind: Port
name: pinned-vm
spec: {{network: pinned-net, address: 192.168.21.11}}
---
kind: Port
name: pinned-served
spec: {{network: pinned-net, address: 192.168.21.12}}
---
kind: FloatingIP
name: pinned-served
spec: {{network: public, address: {FLOATING}, address6: "{FLOATING6}", port: pinned-served}}
---
kind: LoadBalancer
name: pinned-balanced
spec:
  network: public
  address: {BALANCED}
  address6: "{BALANCED6}"
  ports: [{{port: 8080, targets: [{{port: pinned-vm}}]}}]
---
kind: Router
name: wide
spec:
  external: {{network: public, address6: "{WIDE6}", snat6: true}}
  gateways: {{mode: active-active, failback_delay_s: 5}}
---
kind: Network
name: wide-net
spec: {{cidr: 192.168.22.0/24, cidr6: "fd00:22::/64", router: wide}}
---
kind: Port
name: wide-vm
spec: {{network: wide-net, address: 192.168.22.11}}
---
kind: Port
name: wide-served
spec: {{network: wide-net, address: 192.168.22.12}}
---
kind: FloatingIP
name: wide-served
spec: {{network: public, address: {WIDE_FLOATING}, address6: "{WIDE_FLOATING6}", port: wide-served}}
"""
PLACES = {"pinned-vm": "n1", "pinned-served": "n2", "wide-vm": "n1", "wide-served": "n2"}
KEYS = (
    ("LoadBalancer", "pinned-balanced"),
    *(("FloatingIP", name) for name in ("pinned-served", "wide-served")),
    *(("Port", name) for name in PLACES),
    *(("Network", name) for name in ("pinned-net", "wide-net")),
    *(("Router", name) for name in ("front", "back", "pinned", "wide")),
)


@pytest.fixture(scope="module")
def modes(whole: Site) -> Iterator[Site]:
    """The cluster, with a router of each mode and workloads behind them."""
    logical = rows_in_nb(whole)
    whole.apply(MODES)
    for port, node in PLACES.items():
        spec = {"type": "namespace", "address": "static"}
        whole.api.post("/v1/attachments", {"port": port, "node": node, "spec": spec})
    whole.outside.run(["ip", "-6", "route", "replace", ROUTED6, "via", PINNED6], timeout_s=10).checked()
    for port in PLACES:
        eventually_sync(lambda port=port: ping(vm(whole, port), OUTSIDE), within_s=30)
    yield whole
    whole.outside.run(["ip", "-6", "route", "del", ROUTED6], timeout_s=10)
    for port in PLACES:
        whole.api.delete(f"/v1/attachments/{port}")
    whole.delete(*KEYS)
    whole.apply(DECLARED)
    eventually_sync(lambda: rows_in_nb(whole) == logical, within_s=15)


@pytest.fixture
def site(modes: Site, breakable: Site) -> Site:
    """The cluster, whole again after the test."""
    assert breakable is modes
    return modes


def rows_in_nb(site: Site) -> set[str]:
    tables = ("Logical_Router", "Logical_Switch", "Logical_Router_Policy", "HA_Chassis_Group", "NAT")
    return {str(row["_uuid"]) for table in tables for row in site.nb(table, "_uuid")}


def vm(site: Site, port: str) -> Workload:
    return site.lab.node(PLACES[port]).workload(port)


def reached(place: Node | Workload, target: str) -> None:
    eventually_sync(lambda: ping(place, target), within_s=10)


def carriers(site: Site) -> dict[str, str]:
    return {one["name"]: str(one["active"] or "") for one in site.api.get("/v1/gateways")["routers"]}


def settled_at_home(site: Site) -> None:
    """Wait until every router is carried by its home, by a good gateway."""

    def is_settled() -> bool:
        seen = site.api.get("/v1/gateways")
        good = {one["name"] for one in seen["gateways"] if one["good"]}
        assert {"g1", "g2"} <= good, seen["gateways"]
        return all(one["active"] == one["home"] == one["order"][0] for one in seen["routers"])

    eventually_sync(is_settled, within_s=100)


def chassis_of(site: Site, gateway_router: str) -> str:
    (row,) = site.nb("Logical_Router", "options", where=[f"name={gateway_router}"])
    return str(row["options"].get("chassis", ""))


def test_packets_through_a_gateway_router(modes: Site) -> None:
    inside, served = vm(modes, "pinned-vm"), vm(modes, "pinned-served")
    reached(inside, TRANSIT)  # the gateway router, from a network behind it
    reached(inside, PINNED_ADDRESS)  # its address outside, from within
    reached(inside, OUTSIDE)  # by SNAT
    reached(served, OUTSIDE)  # by the floating IP
    reached(modes.outside, FLOATING)


def test_ipv6_packets_through_a_gateway_router(modes: Site) -> None:
    inside, served = vm(modes, "pinned-vm"), vm(modes, "pinned-served")
    routed = own_address6(inside)
    reached(inside, TRANSIT6)
    reached(inside, PINNED6)
    with modes.capture("outside", "eth0", "icmp6") as seen:
        reached(inside, OUTSIDE6)
        reached(served, OUTSIDE6)
        for source in (routed, FLOATING6):
            eventually_sync(lambda source=source: seen.matching(f" {source} > {OUTSIDE6}: .*echo request"), within_s=10)
    reached(modes.outside, routed)
    reached(modes.outside, FLOATING6)
    reached(served, routed)
    with modes.capture("outside", "eth0", "icmp6 and ip6[40]==2") as seen:
        too_big = ("-M", "do", "-s", "1452")
        eventually_sync(lambda: ping(modes.outside, routed, options=too_big) or seen.lines, within_s=10)
        eventually_sync(lambda: seen.matching("packet too big, mtu 1442"), within_s=5)


def test_load_balancers_of_a_gateway_router(modes: Site) -> None:
    server = (
        "import socket; s = socket.create_server(('::', 8080), family=socket.AF_INET6, dualstack_ipv6=True)\n"
        "while True:\n c, _ = s.accept(); c.sendall(b'hello'); c.close()"
    )
    client = "import socket, sys; print(socket.create_connection((sys.argv[1], 8080), 1).recv(9).decode())"
    process = vm(modes, "pinned-vm").popen(["python3", "-c", server], start_new_session=True)

    def is_served(place: Node | Workload, address: str) -> bool:
        return place.run(["python3", "-c", client, address]).stdout.strip() == "hello"

    try:
        for address in (BALANCED, BALANCED6):
            for place in (modes.outside, vm(modes, "pinned-served")):
                eventually_sync(lambda place=place, address=address: is_served(place, address), within_s=15)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=10)


def test_what_comes_in_through_one_of_several_gateways_is_answered_there(modes: Site) -> None:
    reached(modes.outside, WIDE_FLOATING)
    reached(modes.outside, WIDE_FLOATING6)
    with flows(vm(modes, "wide-served"), modes.outside, [OUTSIDE, OUTSIDE6], 8) as running:
        running.wait_flowing()
        seen = {flow.addresses for flow in running.stop()}
    assert seen == {(WIDE_FLOATING,), (WIDE_FLOATING6,)}, "no reply leaves by another gateway, under its address"


def test_modes_are_shown(modes: Site) -> None:
    shown = {one["name"]: one["mode"] for one in modes.api.get("/v1/gateways")["routers"]}
    assert {shown[name] for name in SHARED} == {"shared"}
    assert (shown[PINNED], *(shown[leg] for leg in LEGS)) == ("gateway-router", "active-active", "active-active")
    legs = modes.cli("describe", "router", "wide", "-o", "json").json["legs"]
    assert [leg["name"] for leg in legs] == list(LEGS)
    # A gateway that was unfit a moment ago is held down; then each leg gets one of its own.
    eventually_sync(lambda: {carriers(modes)[leg] for leg in LEGS} == {"g1", "g2"}, within_s=90)
    told = modes.cli("gateway", "history", "--router", "wide", "-o", "json").json["changes"]
    assert {change["router"] for change in told} == set(LEGS)
    text = modes.cli("status").out
    assert all(f"{leg}" in text for leg in LEGS)


def test_the_loss_of_a_gateway(site: Site) -> None:
    """One loss, seen by every mode: shared routers go together, gateway routers are moved, other flows feel nothing."""
    settled_at_home(site)
    lost = carriers(site)[PINNED]
    done = site.cli("gateway", "move", SHARED[0], "--to", lost, "--wait")
    assert done.status == 0, done.err
    assert {carriers(site)[name] for name in SHARED} == {lost}, "a move of one is a move of all"
    addresses, addresses6 = (dict(zip(LEGS, each, strict=True)) for each in assigned(site, "wide"))
    on_lost = next(leg for leg in LEGS if carriers(site)[leg] == lost)
    with (
        further_addresses(site.outside, (*FAR, *FAR6)),
        site.capture("outside", "eth0", "icmp6 and ip6[40]==136") as advertised,
        flows(vm(site, "wide-vm"), site.outside, FAR6, FLOWS6) as wide6,
        flows(vm(site, "pinned-vm"), site.outside, FAR6[:1], 1) as pinned6,
        flows(vm(site, "wide-vm"), site.outside, FAR, FLOWS) as wide,
        flows(vm(site, "pinned-vm"), site.outside, FAR[:1], 2) as pinned,
    ):
        running = (wide, wide6, pinned, pinned6)
        for each in running:
            each.wait_flowing()
        before = len(advertised.lines)
        Kill(lab=site.lab, node=lost, daemon="vswitchd").inject()
        for leg in (PINNED, on_lost):
            eventually_sync(lambda leg=leg: carriers(site)[leg] not in ("", lost), within_s=15)
        survivor = chassis_of(site, "pinned_gw")
        assert survivor != lost
        assert chassis_of(site, f"{on_lost}_gw") == survivor
        eventually_sync(lambda: {carriers(site)[name] for name in SHARED} == {survivor}, within_s=10)
        through_wide, through_wide6, through_pinned, through_pinned6 = (each.stop() for each in running)
        for address in (PINNED6, addresses6[on_lost]):
            told = f" {address} > ff02::1: .*neighbor advertisement, .*tgt is {address}"
            eventually_sync(
                lambda told=told: any(re.search(told, line) for line in advertised.lines[before:]), within_s=10
            )
    (other,) = set(LEGS) - {on_lost}
    for seen, at, count in ((through_wide, addresses, FLOWS), (through_wide6, addresses6, FLOWS6)):
        by_address = {leg: [flow for flow in seen if flow.addresses == (at[leg],)] for leg in LEGS}
        assert sum(map(len, by_address.values())) == count, "every flow kept its address: none was moved to another leg"
        assert by_address[on_lost] and by_address[other], "flows are spread over both"
        hit = [flow.gap_ms for flow in (*by_address[on_lost], *through_pinned, *through_pinned6)]
        assert max(flow.gap_ms for flow in by_address[other]) < max(hit)
        assert max(hit) < REHOMED_MS
    eventually_sync(lambda: failover_of(site, lost, survivor), within_s=10)
    assert failover_of(site, lost, survivor)["decided_by"] == "controller"
    eventually_sync(lambda: failover_of(site, lost, survivor)["outside"] == "answered", within_s=30)
    settled_at_home(site)
    assert carriers(site)[PINNED] == lost, "home again, once it has been good for long enough"
    assert {carriers(site)[leg] for leg in LEGS} == {"g1", "g2"}


def failover_of(site: Site, lost: str, survivor: str) -> dict[str, Any]:
    """The latest change of the gateway router from one gateway to the other; nothing before it is written down.

    Its agent tells of the dead switch, and its watchers that it is silent: what comes first is the cause.
    """
    changes = site.api.get("/v1/gateways/history", query={"router": PINNED})["changes"]
    found = next((one for one in changes if (one["from"], one["to"]) == (lost, survivor)), {})
    assert not found or found["cause"] in ("failover", "unfit")
    return found


@contextlib.contextmanager
def further_addresses(node: Node, addresses: Sequence[str]) -> Iterator[None]:
    """Give a node more addresses for a while."""
    for address in addresses:
        node.run(["ip", "addr", "replace", f"{address}/{length(address)}", "dev", "lo"]).checked()
    try:
        yield
    finally:
        for address in addresses:
            node.run(["ip", "addr", "del", f"{address}/{length(address)}", "dev", "lo"])


def length(address: str) -> int:
    return 128 if ":" in address else 32


def assigned(site: Site, router: str) -> tuple[list[str], list[str]]:
    """The addresses of a router's legs, by IPv4 and by IPv6."""
    found = site.api.get(f"/v1/objects/Router/{router}")
    return [found["assigned"]["address"], *found["assigned"]["others"]], found["addresses6"]


def test_another_mode_leaves_nothing_of_the_old_one(modes: Site) -> None:
    for mode in ("active-active", "active-standby", "gateway-router"):
        modes.apply(
            f"kind: Router\nname: pinned\nspec: {{external: {{network: public, address: {PINNED_ADDRESS}}}, "
            f"gateways: {{mode: {mode}, failback_delay_s: 5}}}}\n"
        )
        eventually_sync(lambda: ping(vm(modes, "pinned-vm"), OUTSIDE), within_s=20)
        for address in (FLOATING, FLOATING6):
            eventually_sync(lambda address=address: ping(modes.outside, address), within_s=20)
        eventually_sync(lambda mode=mode: routers_called_pinned(modes) == EXPECTED[mode], within_s=10)


EXPECTED = {
    "active-active": {"pinned", "pinned_watch", "pinned_1_gw", "pinned_2_gw"},
    "active-standby": {"pinned"},
    "gateway-router": {"pinned", "pinned_watch", "pinned_gw"},
}


def routers_called_pinned(site: Site) -> set[str]:
    names = {str(row["name"]) for row in site.nb("Logical_Router", "name")}
    return {name for name in names if name.startswith("pinned")}
