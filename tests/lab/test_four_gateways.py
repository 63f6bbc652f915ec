"""Four gateways in two zones: where routers are put and go, and one that comes back takes nothing from the living."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.lab.cluster.site import Site, ping, quiet
from tests.lab.cluster.test_switch_restart import serving
from tests.lab.test_agent import restart_agent
from tests.waiting import eventually_sync

from ovenbird.lab import wiring
from ovenbird.lab.faults import Kill, LinkDown, LinkFlap, Partition, PowerOff, heal
from ovenbird.lab.lab import Lab, remove
from ovenbird.lab.node import Node
from ovenbird.lab.readiness import wait_ready
from ovenbird.lab.spec import from_yaml
from ovenbird.model.cluster import Timers
from ovenbird.model.cluster_file import parse_cluster, render_cluster

pytestmark = pytest.mark.lab

LOST_AFTER_S, HOLD_DOWN_S, FLAPS = 15, 2, 5
LAB_FILE = f"""
gateways: {{hold_down_s: {HOLD_DOWN_S}, lost_after_s: {LOST_AFTER_S}}}
nodes:
  - {{name: c1, roles: [central]}}
  - {{name: g1, roles: [gateway], zone: a}}
  - {{name: g2, roles: [gateway], zone: a}}
  - {{name: g3, roles: [gateway], zone: b, weight: 2}}
  - {{name: g4, roles: [gateway], zone: b}}
  - {{name: n1, roles: [compute]}}
"""
ZONES = {"g1": "a", "g2": "a", "g3": "b", "g4": "b"}
WEIGHTS = {"g1": 1, "g2": 1, "g3": 2, "g4": 1}
ADDRESSES = {f"r{number:02}": f"172.16.0.{number + 1}" for number in range(20)}
ROUTERS = "".join(
    f"---\nkind: Router\nname: {name}\n"
    f"spec: {{external: {{network: public, address: {address}}}, gateways: {{failback: manual}}}}\n"
    for name, address in ADDRESSES.items()
)
FIRST = "172.16.0.90"
DECLARED = f"""
kind: ExternalNetwork
name: public
spec: {{physnet: ext, cidr: 172.16.0.0/24, gateway: 172.16.0.254, pool: [172.16.0.100-172.16.0.199]}}
---
kind: Router
name: first
spec: {{external: {{network: public, address: {FIRST}}}, gateways: {{failback: manual}}}}
---
kind: Network
name: blue
spec: {{cidr: 192.168.1.0/24, router: first}}
---
kind: Port
name: vm1
spec: {{network: blue}}
"""


class Four(Site):
    """The lab, with one central host."""

    declared: dict[str, list[str]]
    """The gateways of each router in the moment in which it was declared."""

    def central(self) -> Node:
        """Return it."""
        return self.lab.node("c1")

    def orders(self) -> dict[str, list[str]]:
        """Return the gateways of each router as SB has them, most wanted first."""
        chassis = {row["_uuid"]: str(row["name"]) for row in self.sb("Chassis", "_uuid", "name")}
        members = {row["_uuid"]: row for row in self.sb("HA_Chassis", "_uuid", "chassis", "priority")}
        found: dict[str, list[str]] = {}
        for row in self.sb("HA_Chassis_Group", "name", "ha_chassis"):
            assert members.keys() >= set(row["ha_chassis"]), "SB has changed meanwhile"
            falling = sorted((members[uuid] for uuid in row["ha_chassis"]), key=lambda one: -one["priority"])
            found[str(row["name"]).partition("_")[0]] = [chassis[one["chassis"]] for one in falling]
        return {name: order for name, order in found.items() if name in ADDRESSES}

    def bound(self) -> dict[str, str]:
        """Return who carries each router, by SB; "" for nobody."""
        chassis = {row["_uuid"]: str(row["name"]) for row in self.sb("Chassis", "_uuid", "name")}
        ports = self.sb("Port_Binding", "logical_port", "chassis", where=["type=chassisredirect"])
        found = {
            str(row["logical_port"]).removeprefix("cr-").partition("_")[0]: chassis.get(row["chassis"] or "", "")
            for row in ports
        }
        return {name: at for name, at in found.items() if name in ADDRESSES}

    def unreached(self) -> list[str]:
        """Return the routers that do not answer the outside."""
        return [name for name, address in ADDRESSES.items() if not ping(self.outside, address)]

    def level(self) -> None:
        """Spread the routers over all gateways again and wait for it."""
        eventually_sync(lambda: all(one["good"] for one in self.api.get("/v1/gateways")["gateways"]), within_s=40)
        done = self.cli("gateway", "rebalance", "--wait")
        assert done.status == 0, done.err
        eventually_sync(lambda: self.bound() == {name: order[0] for name, order in self.orders().items()}, within_s=20)

    def told(self, node: str, event: str) -> int:
        """Return how often a node's agent has logged an event."""
        return self.lab.node(node).logs()["agent"].read_text().count(f'"{event}"')


@pytest.fixture(scope="module")
def whole() -> Iterator[Four]:
    name = f"four-{os.getpid()}"
    try:
        site = Four(Lab.create(from_yaml(LAB_FILE, name=name)))
        wait_ready(site.lab, timeout_s=90, progress=lambda _line: None)
        site.apply(DECLARED)
        spec = {"type": "namespace", "address": "static"}
        site.api.post("/v1/attachments", {"port": "vm1", "node": "n1", "spec": spec})
        # While the very first sessions come up, one by one, gateways claim in turn.
        eventually_sync(lambda: ping(site.outside, FIRST), within_s=30)
        eventually_sync(lambda: all(one["good"] for one in site.api.get("/v1/gateways")["gateways"]), within_s=40)
        site.apply(ROUTERS)
        eventually_sync(lambda: len(site.orders()) == len(ADDRESSES), within_s=20)
        site.declared = site.orders()
        eventually_sync(lambda: not site.unreached(), within_s=30)
        yield site
    finally:
        remove(name)


@pytest.fixture
def site(whole: Four) -> Iterator[Four]:
    """The lab, whole and level before and after the test."""
    whole.level()
    yield whole
    heal(whole.lab)
    whole.lab.up()


def test_routers_are_spread_by_weight_and_stand_by_in_the_other_zone(site: Four) -> None:
    found = Counter(order[0] for order in site.declared.values())
    # One more router is on some of them, and none may be fuller than another by more than one router.
    for gateway, weight in WEIGHTS.items():
        assert abs(found[gateway] / weight - len(ADDRESSES) / sum(WEIGHTS.values())) <= 1
    assert found["g3"] > max(found[gateway] for gateway in ("g1", "g2", "g4"))
    assert all(set(order) == set(ZONES) for order in site.declared.values())
    assert all(ZONES[order[0]] != ZONES[order[1]] for order in site.declared.values())
    for lost in ZONES:
        # Whichever is lost, its routers are spread over those of the other zone, by weight.
        second = Counter(order[1] for order in site.declared.values() if order[0] == lost)
        whole = sum(WEIGHTS[gateway] for gateway in second)
        for gateway, routers in second.items():
            assert abs(routers / WEIGHTS[gateway] - second.total() / whole) <= 1, (lost, second)


def test_a_router_has_as_many_gateways_as_it_wants_in_the_zones_that_it_names(site: Four) -> None:
    wanted = {"{zones: [b]}": (2, {"g3", "g4"}), "{zones: [a], count: 1}": (1, {"g1", "g2"})}
    try:
        for gateways, (count, among) in wanted.items():
            site.apply(f"kind: Router\nname: zoned\nspec: {{external: {{network: public}}, gateways: {gateways}}}\n")

            def is_so(count: int = count, among: set[str] = among) -> bool:
                found = order(site, "zoned")
                return len(found) == count and set(found) <= among

            eventually_sync(is_so, within_s=20)
    finally:
        site.delete(("Router", "zoned"))


def test_the_only_single_point_of_failure_is_named(site: Site) -> None:
    done = site.cli("check", "-o", "json")
    assert [(one["rule"], one["subject"]) for one in done.json["findings"]] == [("database.single", "c1")]


def test_the_routers_of_a_lost_gateway_are_carried_in_the_other_zone_and_after_a_while_it_comes_last(
    site: Four,
) -> None:
    before = site.orders()
    lost_s = time.monotonic()
    PowerOff(lab=site.lab, node="g3").inject()
    lost = [name for name, order in before.items() if order[0] == "g3"]

    def carried() -> bool:
        bound = site.bound()
        assert {name: bound[name] for name in lost} == {name: before[name][1] for name in lost}
        assert {ZONES[bound[name]] for name in lost if before[name] == site.declared[name]} == {"a"}
        return True

    eventually_sync(carried, within_s=20)
    eventually_sync(lambda: not site.unreached(), within_s=20)
    eventually_sync(lambda: {order[-1] for order in site.orders().values()} == {"g3"}, within_s=LOST_AFTER_S + 20)
    assert time.monotonic() - lost_s >= LOST_AFTER_S, "one that is soon back keeps its place"

    heal(site.lab)
    eventually_sync(lambda: gateway(site, "g3")["good"], within_s=60)
    at, second = site.bound(), site.orders()
    assert "g3" not in at.values(), "it takes nothing back"
    assert {order[-1] for order in second.values()} == {"g3"}
    # The next failure: nobody counts upon the one that was away.
    moved = {name: order[1] for name, order in second.items() if order[0] == at[name] == "g2"}
    assert moved and "g3" not in moved.values()
    PowerOff(lab=site.lab, node="g2").inject()
    eventually_sync(lambda: site.bound().items() >= moved.items(), within_s=20)
    eventually_sync(lambda: not site.unreached(), within_s=20)


def gateway(site: Site, name: str) -> dict[str, object]:
    """Return what the API says of a gateway."""
    return next(one for one in site.api.get("/v1/gateways")["gateways"] if one["name"] == name)


def test_one_that_was_cut_off_draws_nothing_and_says_nothing_for_what_others_carry(site: Four) -> None:
    macs = [site.api.get(f"/v1/objects/Router/{name}")["assigned"]["mac"] for name in ADDRESSES]
    before, wary = site.bound(), site.told("g1", "isolation.wary")
    cut = Partition(lab=site.lab, nodes=("g1",), plane="data")
    cut.inject()
    cut.verify_injected()
    # It misses the others one after the other, and for a moment takes what those carry that it misses first.
    eventually_sync(lambda: site.told("g1", "isolation.wary") > wary, within_s=20)
    eventually_sync(lambda: set(site.bound().values()) == {"g2", "g3", "g4"}, within_s=20)
    eventually_sync(lambda: not site.unreached(), within_s=10)
    eventually_sync(lambda: precedence(site, "g1") == 0, within_s=5)
    assert precedence(site, "g2") < 0
    trusting = site.told("g1", "isolation.trusting")
    with site.capture("g1", "eth1", "-Q", "out", " or ".join(f"ether src {mac}" for mac in macs)) as said:
        cut.heal()
        # Whoever answers must be asked: broadcasts reach all gateways.
        while site.told("g1", "isolation.trusting") == trusting:
            site.outside.run(["ip", "neighbour", "flush", "all"])
            assert len(site.unreached()) < len(ADDRESSES), "others carry them"
        assert said.lines == []
    assert precedence(site, "g1") == 0, "it may still be spinning"
    eventually_sync(lambda: precedence(site, "g1") == precedence(site, "g2"), within_s=20)
    eventually_sync(lambda: not site.unreached(), within_s=10)
    after = site.bound()
    assert {name: after[name] for name, at in before.items() if at != "g1"} == {
        name: at for name, at in before.items() if at != "g1"
    }


def precedence(site: Site, node: str) -> int:
    """Return the niceness of the session of a host's ovn-controller."""
    pid = site.lab.node(node).daemon("ovn-controller").pid
    return int(Path(f"/proc/{pid}/autogroup").read_text(encoding="ascii").split()[-1])


def test_what_forwards_and_keeps_bfd_waits_for_nobody_and_nothing_else_is_so(site: Four) -> None:
    def realtime(node: str) -> dict[str, int]:
        """Return the real-time priority of each thread of a host's daemons and agent that has one."""
        pids = [one.pid for one in site.lab.node(node).pids().values()]
        threads = [thread for pid in pids for thread in Path(f"/proc/{pid}/task").iterdir()]
        found = {}
        for thread in threads:
            if os.sched_getscheduler(int(thread.name)) != os.SCHED_OTHER:
                name = (thread / "comm").read_text(encoding="utf-8").strip().rstrip("0123456789")
                found[name] = os.sched_getparam(int(thread.name)).sched_priority
        return found

    for node in ("g2", "n1"):
        eventually_sync(
            lambda node=node: quiet(lambda: realtime(node) == {"ovs-vswitchd": 1, "monitor": 1}), within_s=10
        )
    # A new one is so, too.
    before = site.lab.node("n1").daemon("vswitchd").pid
    os.kill(before, signal.SIGKILL)
    eventually_sync(lambda: quiet(lambda: site.lab.node("n1").daemon("vswitchd").pid != before), within_s=20)
    eventually_sync(lambda: quiet(lambda: realtime("n1") == {"ovs-vswitchd": 1, "monitor": 1}), within_s=20)
    assert realtime("c1") == {}
    eventually_sync(lambda: not site.unreached(), within_s=20)


def order(site: Site, router: str) -> list[str]:
    """Return the gateways of a router in NB, most wanted first."""
    shown = site.api.get("/v1/gateways")["routers"]
    return next((list(one["order"]) for one in shown if one["name"] == router), [])


def at_home(site: Site, gateway: str) -> str:
    """Return a router that a gateway carries, and to which it comes back."""
    shown = site.api.get("/v1/gateways")["routers"]
    own = (one for one in shown if one["active"] == one["home"] == one["order"][0] == gateway)
    return next(str(one["name"]) for one in own if one["name"] in ADDRESSES)


def test_nothing_goes_home_to_one_that_is_still_held(site: Four) -> None:
    router = at_home(site, "g1")
    third = site.orders()[router][2]
    spec = f"{{external: {{network: public, address: {ADDRESSES[router]}}}, gateways: {{failback_delay_s: 1}}}}"
    site.apply(f"kind: Router\nname: {router}\nspec: {spec}\n")
    # It is held until it sees all others, or they may be expected no more: one of them it does not see.
    cut = Partition(lab=site.lab, nodes=("g1",), peers=(third,), plane="data")
    cut.inject()
    killed_s, before = -math.inf, serving(site, "g1")[0]

    def left() -> bool:
        """Whether the router has left: on a busy machine a hold may be over before the controller follows."""
        nonlocal killed_s
        if time.monotonic() - killed_s > 15:
            Kill(lab=site.lab, node="g1", daemon="vswitchd").inject()
            killed_s = time.monotonic()
        return order(site, router)[0] != "g1"

    eventually_sync(left, within_s=20, every_s=0.01)
    seen, end_s, is_cut = set(), time.monotonic() + 90, True
    while not seen and time.monotonic() < end_s:
        if order(site, router)[0] == "g1":
            # Asked in this order: one that was let go stays so.
            seen.add(serving(site, "g1")[0])
        elif is_cut and serving(site, "g1")[0] != before:
            # Two that work and do not see each other are kept apart, the longer the more often they were.
            cut.heal()
            is_cut = False
    assert seen == {str(site.lab.node("g1").daemon("vswitchd").inner_pid)}
    eventually_sync(lambda: not site.unreached(), within_s=20)


def test_a_gateway_that_leaves_the_cluster_file_leaves_the_lists_and_comes_last_when_it_is_back(site: Four) -> None:
    before = site.orders()
    file = site.lab.node("c1").path("/etc/ovenbird/cluster.yaml")
    whole = file.read_text()
    cluster = parse_cluster(whole).cluster
    try:
        file.write_text(render_cluster(replace(cluster, hosts=tuple(h for h in cluster.hosts if h.name != "g4"))))
        restart_agent(site.lab, "c1")
        eventually_sync(lambda: all(set(order) == {"g1", "g2", "g3"} for order in site.orders().values()), within_s=40)
        without = site.orders()
        eventually_sync(lambda: site.bound() == {name: order[0] for name, order in without.items()}, within_s=20)
        assert all(without[name][0] == order[0] for name, order in before.items() if order[0] != "g4")
        eventually_sync(lambda: not site.unreached(), within_s=20)
    finally:
        file.write_text(whole)
        restart_agent(site.lab, "c1")
    eventually_sync(
        lambda: site.orders() == {name: [*order, "g4"] for name, order in without.items()}, within_s=40, every_s=0.5
    )
    eventually_sync(lambda: not site.unreached(), within_s=20)


def test_one_that_fails_again_and_again_is_held_down_longer_each_time(site: Four) -> None:
    router = at_home(site, "g2")
    spec = f"{{external: {{network: public, address: {ADDRESSES[router]}}}, gateways: {{failback: %s}}}}"
    site.apply(f"kind: Router\nname: {router}\nspec: {spec % 'preempt'}\n")
    try:
        begin_ms = time.time_ns() // 1_000_000
        LinkFlap(lab=site.lab, node="g2", interface="eth1", times=FLAPS, down_s=0.6, up_s=0.3).inject()
        eventually_sync(lambda: site.bound()[router] != "g2", within_s=20)
        eventually_sync(lambda: site.bound()[router] == "g2", within_s=90)
        told = site.api.get("/v1/gateways/history", query={"router": router})["changes"]
        moves = [(one["to"], one["cause"]) for one in told if one["at_ms"] >= begin_ms]
        assert len(moves) <= FLAPS, "there and back once, not with each flap"
        fault = LinkDown(lab=site.lab, node="g2", interface="eth1")
        fault.inject()
        eventually_sync(lambda: site.bound()[router] != "g2", within_s=20)
        healed_s = time.monotonic()
        fault.heal()
        eventually_sync(lambda: site.bound()[router] == "g2", within_s=90)
        assert time.monotonic() - healed_s >= 2 * HOLD_DOWN_S, "a relapse doubles it"
        eventually_sync(lambda: not site.unreached(), within_s=20)
    finally:
        site.apply(f"kind: Router\nname: {router}\nspec: {spec % 'manual'}\n")


def test_gateways_that_are_not_on_one_layer_2_are_named(site: Four) -> None:
    """One sees another upstream router of the same address, as behind a switch that was cabled wrongly."""
    fabric = site.lab.fabric.require_init()
    (port,) = (cable.port for cable in site.lab.cables(site.lab.node("g2")) if cable.interface == "eth1")

    def link(*words: str) -> str:
        return wiring.in_network_of(fabric, ["ip", *words]).checked(subject="fabric").stdout

    link("link", "add", "elsewhere", "type", "bridge", "forward_delay", "0")
    try:
        link("address", "add", "172.16.0.254/24", "dev", "elsewhere")
        link("link", "set", "elsewhere", "up")
        link("link", "set", port, "master", "elsewhere")
        mac = link("-o", "link", "show", "elsewhere").partition("link/ether ")[2].split()[0]

        def named() -> bool:
            found = site.cli("check", "-o", "json").json["findings"]
            told = {one["subject"]: one["message"] for one in found if one["rule"] == "gateway.not_one_l2"}
            return f"g2 sees {mac}" in told.get("ExternalNetwork/public", "")

        eventually_sync(lambda: quiet(named), within_s=20)
    finally:
        link("link", "set", port, "master", wiring.OUTSIDE_SWITCH)
        link("link", "del", "elsewhere")
    eventually_sync(lambda: "not_one_l2" not in site.cli("check", "-o", "json").out, within_s=20)


STALLS = """
import os, sys, time
os.sched_setaffinity(0, {int(sys.argv[1])})
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(2))
end_s = time.monotonic() + 60
while time.monotonic() < end_s:
    stall_s = time.monotonic() + 0.25
    while time.monotonic() < stall_s:
        pass
    time.sleep(0.75)
"""


@contextlib.contextmanager
def kept_waiting(site: Site, name: str) -> Iterator[None]:
    """A host whose ovs-vswitchd now and then does not get its processor for a quarter of a second."""
    pid = site.lab.node(name).daemon("vswitchd").pid
    before = os.sched_getaffinity(pid)
    one = max(before)
    stalls = subprocess.Popen([sys.executable, "-c", STALLS, str(one)], start_new_session=True)
    try:
        allow(pid, {one})
        yield
    finally:
        stalls.kill()
        stalls.wait(timeout=10)
        allow(pid, before)


def allow(pid: int, processors: set[int]) -> None:
    """Let every thread of a process run on these alone."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.sched_setaffinity(int(thread.name), processors)


def test_bfd_is_slowed_for_a_host_that_is_too_busy_for_it_and_status_says_which(site: Four) -> None:
    file = site.lab.node("c1").path("/etc/ovenbird/cluster.yaml")
    whole = file.read_text()
    fast = replace(parse_cluster(whole).cluster, timers=Timers.FAST)

    def interval_ms() -> int:
        (options,) = site.nb("NB_Global", "options")
        return int(options["options"]["bfd-min-rx"])

    def is_slowed() -> bool:
        asked = interval_ms()
        tunnels = site.vswitch("g1", "Interface", "bfd", where=["type=geneve"])
        assert {row["bfd"].get("min_rx") for row in tunnels if row["bfd"].get("enable") == "true"} == {str(asked)}
        warned = site.status().get("warnings", ())
        assert any(one.startswith("BFD notices") and "g1 is so busy" in one for one in warned), warned
        assert any(one.startswith("BFD of g1") and "not the network" in one for one in warned), warned
        return fast.bfd.min_rx_ms < asked <= 4 * fast.bfd.min_rx_ms

    try:
        file.write_text(render_cluster(fast))
        restart_agent(site.lab, "c1")
        eventually_sync(lambda: interval_ms() <= 4 * fast.bfd.min_rx_ms, within_s=20)
        with kept_waiting(site, "g1"):
            eventually_sync(lambda: quiet(is_slowed), within_s=30, every_s=0.2)
    finally:
        file.write_text(whole)
        restart_agent(site.lab, "c1")
    eventually_sync(lambda: not site.unreached(), within_s=30)
