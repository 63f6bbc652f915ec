"""The modes in which gateways carry routers: what is placed, what is compiled, who is dead, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.core.nb_memory import NbMemory
from tests.core.samples import BLUE, FIP2, PUBLIC, R1, SAMPLE, VM1, VM2, WEB

from ovenbird.model.documents import parse_documents
from ovenbird.model.errors import UserError
from ovenbird.model.objects import Declared, Route, Router, RouterGateways
from ovenbird.plan import compile_names as names
from ovenbird.plan.admission import admit
from ovenbird.plan.compile import CompileContext, compile_object
from ovenbird.plan.diff import diff
from ovenbird.plan.failback import Carried, Cause, Gateways, Memory, as_groups, as_one, decide
from ovenbird.plan.gateway_death import Watcher, dead_peers
from ovenbird.plan.gateway_moves import rebalancing, single_move
from ovenbird.plan.gateways import RouterNeed, schedule
from ovenbird.plan.inventory import Inventory
from ovenbird.plan.legs import leg_names, legs_of
from ovenbird.plan.rows import Gateway, NbRow, Placement

NAMES = ("g1", "g2", "g3")
GATEWAYS = [Gateway(name=name, physnets=frozenset({"ext"})) for name in NAMES]
ALL_GOOD = Gateways(good_since_s=dict.fromkeys(NAMES, 0.0))
LONG_AGO = Memory(changed_s=0.0, settled=True)
ORDER = (("g1", 100), ("g2", 90), ("g3", 80))
PLACED = CompileContext(
    placement=Placement(routers={"r1": ORDER, "r1_1": ORDER, "r1_2": (("g2", 100), ("g3", 90), ("g1", 80))})
)


def in_mode(mode: str, *, others: tuple[str, ...] = (), **changes: object) -> Declared:
    spec = R1.spec.model_copy(update={"gateways": RouterGateways.model_validate({"mode": mode}), **changes})
    return replace(R1, spec=spec, assigned=replace(R1.assigned, others=others))


PINNED, SEVERAL = in_mode("gateway-router"), in_mode("active-active", others=("172.16.0.2",))


def rows_with(router: Declared) -> list[NbRow]:
    inventory = Inventory([each for each in SAMPLE if each.key != R1.key] + [router])
    return [row for each in inventory for row in compile_object(each.key, inventory, PLACED)]


def named(rows: list[NbRow], name: str) -> NbRow:
    (found,) = [row for row in rows if row.table == "Logical_Router" and row.columns["name"] == name]
    return found


def under(rows: list[NbRow], router: str, table: str) -> list[NbRow]:
    return [row for row in rows if row.table == table and row.parent and row.parent.uuid == router]


def routes(rows: list[NbRow], router: str) -> set[tuple[str, str]]:
    found = under(rows, router, "Logical_Router_Static_Route")
    return {(row.columns["ip_prefix"], row.columns["nexthop"]) for row in found}


# Placement.


def test_shared_routers_have_one_order_and_a_new_one_joins_it():
    old = {"b": (("g2", 100), ("g1", 90)), "c": (("g2", 100), ("g1", 90))}
    shared = [RouterNeed(name=name, physnet="ext", together="ext") for name in "abc"]
    placement = schedule(shared, GATEWAYS, Placement(routers=old, homes={"b": "g2", "c": "g2"})).placement
    assert set(placement.routers.values()) == {(("g2", 100), ("g1", 90), ("g3", 80))}
    assert set(placement.homes.values()) == {"g2"}


def test_a_converted_router_moves_to_the_order_that_most_have():
    old = {"a": (("g1", 100),), "b": (("g2", 100),), "c": (("g2", 100),)}
    shared = [RouterNeed(name=name, physnet="ext", together="ext", count=1) for name in "abc"]
    placed = schedule(shared, GATEWAYS, Placement(routers=old, homes={"a": "g1", "b": "g2", "c": "g2"})).placement
    assert {placed.routers[name][0][0] for name in "abc"} == {"g2"} == set(placed.homes.values())


def test_legs_of_one_router_are_on_different_gateways_and_so_are_those_that_take_over():
    loaded = [RouterNeed(name=f"x{number}", physnet="ext") for number in range(3)]
    legs = [RouterNeed(name=name, physnet="ext", apart="r1") for name in ("r1_1", "r1_2")]
    crowd = {f"x{number}": (("g2", 100), ("g3", 90), ("g1", 80)) for number in range(3)}
    placed = schedule([*loaded, *legs], GATEWAYS, Placement(routers=crowd)).placement.routers
    first, second = placed["r1_1"], placed["r1_2"]
    assert first[0][0] != second[0][0]
    assert second[1][0] != first[0][0], "the first to take over is not the other's gateway while a third is there"


def test_legs_are_named_after_their_router():
    assert leg_names("r1", PINNED.spec) == ("r1",)
    assert leg_names("r1", SEVERAL.spec) == ("r1_1", "r1_2")
    assert [leg.address for leg in legs_of(SEVERAL)] == ["172.16.0.1", "172.16.0.2"]
    assert leg_names("r1", Router()) == ()


# Decisions.


def carried(name: str, **changes: object) -> Carried:
    router = Carried(name=name, order=NAMES, eligible=frozenset(NAMES), home="g1", carrier="g1")
    return replace(router, **changes)  # type: ignore[arg-type]


def test_a_gateway_router_leaves_a_dead_gateway_at_once_for_a_good_one_only():
    pinned = carried("r1", pinned=True)
    dead = replace(ALL_GOOD, good_since_s={"g2": 0.0, "g3": 0.0}, dead=frozenset({"g1"}))
    verdict = decide(pinned, Memory(changed_s=99.9), dead, 100.0)
    assert (verdict.order[0], verdict.home, verdict.cause) == ("g2", "g1", Cause.FAILOVER)
    assert decide(pinned, LONG_AGO, replace(dead, good_since_s={}), 100.0).order == NAMES, "nobody is known to be good"
    assert decide(carried("r1"), LONG_AGO, dead, 100.0).order == NAMES, "the others are OVN's to move"
    both = replace(dead, dead=frozenset({"g1", "g2"}), good_since_s=ALL_GOOD.good_since_s)
    assert decide(pinned, LONG_AGO, both, 100.0).order[0] == "g3"


def test_what_sb_says_of_a_gateway_router_is_never_followed():
    assert decide(carried("r1", pinned=True, carrier="g2"), LONG_AGO, ALL_GOOD, 1e6).order == NAMES


def test_routers_that_share_an_order_are_one():
    one, other = carried("a", together="ext"), carried("b", together="ext", carrier="g2", asked="g3")
    alone = carried("c")
    assert [[each.name for each in group] for group in as_groups([one, alone, other])] == [["a", "b"], ["c"]]
    merged = as_one([one, other])
    assert (merged.carrier, merged.asked) == (None, "g3"), "not all of them have moved yet"
    assert as_one([replace(one, carrier="g2"), other]).carrier == "g2"


def test_shared_routers_move_together_and_rebalance_leaves_them():
    routers = [carried(name, together="ext") for name in "abc"]
    moves = single_move("b", "g2", NAMES, routers, ALL_GOOD, force=False)
    assert [(move.router, move.after) for move in moves] == [("a", "g2"), ("b", "g2"), ("c", "g2")]
    assert rebalancing(routers, ALL_GOOD) == ()


def test_rebalance_keeps_the_legs_of_a_router_apart():
    legs = [carried("r1_1", apart="r1"), carried("r1_2", apart="r1", home="g2", carrier="g2", order=("g2", "g1", "g3"))]
    crowd = [carried(f"x{number}", home="g2", carrier="g2", order=("g2", "g1", "g3")) for number in range(4)]
    moved = {move.router: move.after for move in rebalancing([*legs, *crowd], ALL_GOOD)}
    assert moved.get("r1_2", "g2") != moved.get("r1_1", "g1")


def test_moving_a_router_with_several_legs_asks_which():
    legs = [carried("r1_1", apart="r1"), carried("r1_2", apart="r1")]
    with pytest.raises(UserError, match="several legs") as caught:
        single_move("r1", "g2", NAMES, legs, ALL_GOOD, force=False)
    assert "r1_1, r1_2" in caught.value.hint


# Death.


def watcher(host: str, peer: str, *, up: bool | None, is_heard: bool = True) -> Watcher:
    return Watcher(host=host, peer=peer, up=up, is_heard=is_heard)


def test_a_majority_of_watchers_must_see_a_gateway_down():
    def votes(*states: bool | None) -> list[Watcher]:
        return [watcher(f"n{at}", "g1", up=up) for at, up in enumerate(states)] + [
            watcher(f"n{at}", "g2", up=True) for at in range(len(states))
        ]

    assert dead_peers(votes(False, False, True)) == {"g1"}
    assert dead_peers(votes(False, True)) == frozenset()
    assert dead_peers(votes(False, None)) == frozenset(), "one that does not know has not said so"
    assert dead_peers(votes()) == frozenset()


def test_silence_is_not_death():
    silent = [watcher(name, "g1", up=False, is_heard=False) for name in ("n1", "n2", "n3")]
    assert dead_peers(silent) == frozenset()


def test_a_watcher_that_sees_nobody_is_the_one_that_is_cut_off():
    cut_off = [watcher("n1", name, up=False) for name in NAMES]
    assert dead_peers([*cut_off, watcher("g1", "g2", up=True), watcher("g2", "g1", up=True)]) == frozenset()
    assert dead_peers([watcher("g2", "g1", up=False)]) == {"g1"}, "the only one there is"


def test_watchers_that_died_with_the_gateway_have_no_say():
    rack = ("n1", "n2", "n3", "g1")
    last_words = [watcher(name, "g1", up=True) for name in rack[:3]]
    seen = [watcher(host, name, up=False) for host in ("g2", "g3") for name in rack]
    others = [watcher("g2", "g3", up=True), watcher("g3", "g2", up=True)]
    assert dead_peers([*last_words, *seen, *others]) >= {"g1"}
    alive = [watcher("g2", name, up=True) for name in rack[:3]] + [watcher("g2", "g1", up=False), *others]
    unheard = [replace(each, is_heard=False) for each in last_words]
    assert dead_peers([*unheard, *alive]) == frozenset(), "they live, and nobody knows what they see"
    assert "g1" in dead_peers([*unheard, *seen, *others])


# Rows.


def test_a_gateway_router_is_tied_to_its_router_by_a_transit_switch():
    rows = rows_with(PINNED)
    gateway, router = names.gateway_router("r1"), names.logical_router("r1")
    assert named(rows, "r1_gw").columns["options"]["chassis"] == "g1"
    assert "chassis" not in named(rows, "r1").columns["options"]
    assert routes(rows, router) == {("0.0.0.0/0", "169.254.64.2"), ("172.16.0.0/24", "169.254.64.2")}
    assert routes(rows, gateway) == {("0.0.0.0/0", "172.16.0.254"), ("192.168.1.0/24", "169.254.64.1")}
    nat = {(row.columns["type"], row.columns["external_ip"]) for row in under(rows, gateway, "NAT")}
    assert nat == {
        ("snat", "172.16.0.1"),
        ("dnat_and_snat", "172.16.0.101"),
        ("dnat_and_snat", "172.16.0.102"),
    }
    assert not under(rows, router, "NAT")
    assert not [row for row in rows if row.table == "Logical_Router_Policy"]


@pytest.mark.parametrize("router", [PINNED, SEVERAL], ids=lambda router: router.spec.gateways.mode)
def test_no_router_has_both_a_chassis_and_a_distributed_gateway_port(router: Declared):
    rows = rows_with(router)
    pinned = {row.uuid for row in rows if row.columns.get("options", {}).get("chassis")}
    grouped = {row.parent.uuid for row in rows if row.columns.get("ha_chassis_group") and row.parent}
    assert pinned
    assert grouped, "without a group in use nobody watches the gateways"
    assert not pinned & grouped


def test_active_active_has_an_ecmp_route_and_an_snat_address_for_each_leg():
    rows = rows_with(SEVERAL)
    assert routes(rows, names.logical_router("r1")) >= {("0.0.0.0/0", "169.254.64.2"), ("0.0.0.0/0", "169.254.64.3")}
    for leg, chassis, address in (("r1_1", "g1", "172.16.0.1"), ("r1_2", "g2", "172.16.0.2")):
        assert named(rows, f"{leg}_gw").columns["options"]["chassis"] == chassis
        snat = [row for row in under(rows, names.gateway_router(leg), "NAT") if row.columns["type"] == "snat"]
        assert [row.columns["external_ip"] for row in snat] == [address]


def test_replies_leave_where_the_request_came_in():
    rows = rows_with(SEVERAL)
    policies = [row.columns for row in under(rows, names.logical_router("r1"), "Logical_Router_Policy")]
    holder = {
        row.columns["logical_ip"]: row.parent.uuid
        for row in rows
        if row.table == "NAT" and row.columns["type"] == "dnat_and_snat" and row.parent
    }
    hops = {names.gateway_router("r1_1"): "169.254.64.2", names.gateway_router("r1_2"): "169.254.64.3"}
    pins = {(row["match"], *row["nexthops"]) for row in policies if row["action"] == "reroute"}
    assert (f"ip4.src == {VM1.assigned.address}", hops[holder[VM1.assigned.address]]) in pins
    assert (f"ip4.src == {VM2.assigned.address}", "169.254.64.2") in pins, "load balancers answer on the first leg"
    inside = [row for row in policies if row["action"] == "allow"]
    assert [row["match"] for row in inside] == ["ip4.dst == 192.168.1.0/24"]
    assert min(row["priority"] for row in inside) > max(
        row["priority"] for row in policies if row["action"] == "reroute"
    )


def test_static_routes_stay_inside_or_go_through_every_gateway_router():
    given = (Route(to="10.1.0.0/16", via="192.168.1.9"), Route(to="10.2.0.0/16", via="172.16.0.9"))
    rows = rows_with(in_mode("active-active", others=("172.16.0.2",), routes=given))
    assert routes(rows, names.logical_router("r1")) >= {
        ("10.1.0.0/16", "192.168.1.9"),
        ("10.2.0.0/16", "169.254.64.2"),
        ("10.2.0.0/16", "169.254.64.3"),
    }
    assert routes(rows, names.gateway_router("r1_2")) >= {
        ("10.1.0.0/16", "169.254.64.1"),
        ("10.2.0.0/16", "172.16.0.9"),
    }


@pytest.mark.parametrize("router", [PINNED, SEVERAL], ids=lambda router: router.spec.gateways.mode)
def test_no_two_rows_are_the_same_one_or_have_the_same_name(router: Declared):
    rows = rows_with(router)
    ports = [row.columns["name"] for row in rows if row.table in ("Logical_Switch_Port", "Logical_Router_Port")]
    assert len({row.uuid for row in rows}) == len(rows)
    assert len(set(ports)) == len(ports)


@pytest.mark.parametrize("before", ["active-standby", "shared", "gateway-router", "active-active"])
@pytest.mark.parametrize("after", ["active-standby", "shared", "gateway-router", "active-active"])
def test_a_changed_mode_leaves_nothing_of_the_other_behind(before: str, after: str):
    nb = NbMemory()
    for mode in (before, after):
        router = in_mode(mode, others=("172.16.0.2",) if mode == "active-active" else ())
        inventory = Inventory([PUBLIC, BLUE, VM1, VM2, FIP2, WEB, router])
        desired = {each.key: compile_object(each.key, inventory, PLACED) for each in inventory}
        plan = diff(desired.keys(), desired, nb.index)
        assert not plan.conflicts
        nb.execute(plan)
        there = {uuid for rows in nb.rows.values() for uuid in rows}
        assert there == {row.uuid for rows in desired.values() for row in rows}


# Admission.

TWO = """
kind: ExternalNetwork
name: public
spec: {physnet: ext, cidr: 172.16.0.0/24, pool: [172.16.0.100-172.16.0.101]}
---
"""
ROUTER = TWO + "kind: Router\nname: r\nspec: {external: {network: public}, gateways: {%s}}\n"


def admitted(text: str, gateways: int = 3) -> dict[str, Declared]:
    documents = parse_documents(text, "f.yaml")
    admission = admit(
        Inventory(),
        documents,
        physnets=frozenset({"ext"}),
        underlay_mtu=1500,
        revision=1,
        gateways={"ext": gateways},
    )
    return {change.key.name: change.new for change in admission.changes if change.new}


def refused(text: str, gateways: int = 3) -> list[tuple[int, str]]:
    with pytest.raises(UserError) as caught:
        admitted(text, gateways)
    return [(problem.line, problem.message) for problem in caught.value.problems]


def test_an_active_active_router_gets_an_address_for_each_leg():
    router = admitted(ROUTER % "mode: active-active")["r"]
    assert (router.assigned.address, router.assigned.others) == ("172.16.0.100", ("172.16.0.101",))


def test_the_example_has_every_mode():
    text = (Path(__file__).parents[2] / "examples/gateway-modes.yaml").read_text(encoding="utf-8")
    routers = [each.spec for each in admitted(text).values() if isinstance(each.spec, Router)]
    assert {spec.gateways.mode for spec in routers} == {"active-standby", "shared", "gateway-router", "active-active"}


def test_what_an_active_active_router_lacks_is_said():
    ((line, message),) = refused(ROUTER % "mode: active-active", gateways=1)
    assert line == 8
    assert "2 gateways are to carry it at the same time, but only 1 with an uplink to ext exists" in message
    ((_, message),) = refused(ROUTER % "mode: active-active, active: 3")
    assert "no address is free" in message
    ((_, message),) = refused(ROUTER % "mode: shared, active: 3")
    assert 'active has no meaning with mode "shared"' in message


def test_shared_routers_that_want_different_things_are_refused():
    other = "---\nkind: Router\nname: s\nspec:\n  external: {network: public}\n  gateways:\n    mode: shared\n"
    other += "    count: 2\n"
    ((line, message),) = refused(ROUTER % "mode: shared" + other)
    assert line == 16
    assert "count 2 differs from 5 of Router/r (line 6): shared routers on physnet 'ext' have one list" in message
    assert admitted(ROUTER % "mode: shared, count: 2" + other)


BEHIND = """---
kind: Network
name: blue
spec: {cidr: %s, router: r}
---
kind: Port
name: vm
spec: {network: blue}
---
kind: FloatingIP
name: f
spec:
  network: public
  port: vm
  distributed: true
"""


@pytest.mark.parametrize("mode", ["gateway-router", "active-active"])
def test_a_distributed_floating_ip_behind_a_gateway_router_is_refused(mode: str):
    text = (ROUTER % f"mode: {mode}").replace("172.16.0.101]", "172.16.0.109]")
    ((line, message),) = refused(text + BEHIND % "192.168.1.0/24")
    assert line == 23
    assert f'cannot be distributed: Router/r is in mode "{mode}"' in message
    assert admitted(text + (BEHIND % "192.168.1.0/24").replace("true", "false"))


def test_a_network_with_the_transit_addresses_is_refused():
    text = (ROUTER % "mode: gateway-router").replace("172.16.0.101]", "172.16.0.109]")
    ((line, message),) = refused(text + (BEHIND % "169.254.64.0/24").replace("true", "false"))
    assert line == 12
    assert "overlaps 169.254.64.0/28" in message


def test_a_mode_without_an_external_leg_is_refused():
    ((_, message),) = refused("kind: Router\nname: r\nspec: {gateways: {mode: shared}}\n")
    assert "has no meaning without an external leg" in message
    assert admitted("kind: Router\nname: r\nspec: {gateways: {mode: active-standby}}\n")


def test_a_gateway_router_that_nobody_could_take_over_is_warned_of():
    documents = parse_documents(ROUTER % "mode: gateway-router", "f.yaml")
    admission = admit(
        Inventory(), documents, physnets=frozenset({"ext"}), underlay_mtu=1500, revision=1, gateways={"ext": 1}
    )
    (warning,) = admission.warnings
    assert "nobody can take the router over" in warning.message
