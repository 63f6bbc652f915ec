"""What follows from gateways that are apart: who is barred from which group, and the rows that keep BFD running."""

from __future__ import annotations

import pytest
from tests.core.samples import CONTEXT, PUBLIC, R1, SAMPLE

from ovenbird.controller.apart import barred_gateways, watched_networks, with_separation
from ovenbird.model.errors import Refused
from ovenbird.plan.compile import CompileContext, compile_object
from ovenbird.plan.failback import Carried, Cause, Gateways, Memory, decide
from ovenbird.plan.gateway_moves import single_move
from ovenbird.plan.gateways import RouterNeed, schedule
from ovenbird.plan.inventory import Inventory
from ovenbird.plan.rows import APART, VACANT, Gateway, Placement
from ovenbird.plan.separation import Separated, Why

HOSTS = tuple(Gateway(name=name, physnets=frozenset({"ext"})) for name in ("g1", "g2"))
NEEDS = (RouterNeed(name="a", physnet="ext"), RouterNeed(name="b", physnet="ext"))
PLACED = Placement(routers={"a": (("g1", 100), ("g2", 90)), "b": (("g2", 100), ("g1", 90))})
CUT = {frozenset(("g1", "g2")): Separated(why=Why.PARTITION)}
DEAD = {frozenset(("g1", "g2")): Separated(why=Why.UNPAIRED, lost="g1")}


def placed(separated, carriers):
    barred = barred_gateways(NEEDS, HOSTS, PLACED, separated, carriers)
    return with_separation(schedule(NEEDS, HOSTS, PLACED, barred=barred).placement, HOSTS, barred, separated)


def members(placement):
    return {router: [name for name, _ in there] for router, there in placement.routers.items()}


def test_each_router_keeps_the_gateway_that_it_has():
    parted = placed(CUT, {"a": "g1", "b": "g2"})
    assert members(parted) == {"a": ["g1"], "b": ["g2"]}
    assert parted.vacant == {"a", "b"}
    assert parted.watched == {"ext": ("g1", "g2")}
    assert parted.apart == {"partition g1 g2"}


def test_a_dead_gateway_goes_only_where_nothing_replaced_it():
    parted = placed(DEAD, {"a": "g1", "b": "g2"})
    assert members(parted) == {"a": ["g2"], "b": ["g2", "g1"]}
    assert parted.vacant == {"a"}


def test_a_gateway_router_is_left_alone():
    pinned = (RouterNeed(name="a", physnet="ext", pinned=True),)
    assert barred_gateways(pinned, HOSTS, PLACED, CUT, {"a": "g1"}) == {}


def test_what_was_taken_out_comes_back_as_the_last():
    parted = placed(CUT, {"a": "g1", "b": "g2"})
    back = schedule(NEEDS, HOSTS, parted).placement
    assert members(back) == {"a": ["g1", "g2"], "b": ["g2", "g1"]}
    assert members(with_separation(back, HOSTS, {}, {})) == members(back)
    assert not with_separation(back, HOSTS, {}, {}).watched


def test_the_group_of_one_has_a_member_that_is_nobody_and_bfd_goes_on():
    gateways = tuple(name for name, _ in CONTEXT.placement.routers[R1.name])
    placement = Placement(
        routers={R1.name: CONTEXT.placement.routers[R1.name][:1]},
        vacant=frozenset({R1.name}),
        watched={PUBLIC.spec.physnet: gateways},
        apart=frozenset({"partition g1 g2"}),
    )
    context, inventory = CompileContext(placement=placement), Inventory(SAMPLE)
    names = [
        row.columns["chassis_name"] for row in compile_object(R1.key, inventory, context) if row.table == "HA_Chassis"
    ]
    assert names == [gateways[0], VACANT]
    rows = compile_object(PUBLIC.key, inventory, context)
    group = next(row for row in rows if row.table == "HA_Chassis_Group")
    assert group.columns["external_ids"][APART] == "partition g1 g2"
    watched = {row.columns["chassis_name"] for row in rows if row.table == "HA_Chassis"}
    assert watched == set(gateways)
    port = next(row for row in rows if row.columns.get("type") == "external")
    assert port.columns["ha_chassis_group"] == group.uuid
    assert not port.columns["addresses"], "nobody claims it"
    before = Placement(routers=placement.routers)
    assert watched_networks(inventory, before, placement) == {PUBLIC.key}
    assert watched_networks(inventory, placement, placement) == frozenset()
    assert len(compile_object(PUBLIC.key, inventory, CompileContext(placement=before))) == len(rows) - len(watched) - 2


def test_a_failover_is_not_followed_while_a_third_host_sees_the_first_gateway():
    router = Carried(name="r", order=("g1", "g2"), eligible=frozenset({"g1", "g2"}), home="g1", carrier="g2")
    memory = Memory(changed_s=0.0, settled=True)
    good = {"g1": 0.0, "g2": 0.0}
    fought = decide(router, memory, Gateways(good_since_s=good, seen_by={"g1": frozenset({"n1", "g1"})}), 100.0)
    assert fought.order[0] == "g1"
    for seen in ({}, {"g1": frozenset({"g2"})}):
        followed = decide(router, memory, Gateways(good_since_s=good, seen_by=seen), 100.0)
        assert (followed.order[0], followed.cause) == ("g2", Cause.FAILOVER)


def test_an_operator_who_moves_a_router_to_what_was_taken_out_is_told_why():
    router = Carried(
        name="r", order=("g1",), eligible=frozenset({"g1"}), barred=frozenset({"g2"}), home="g1", carrier="g1"
    )
    with pytest.raises(Refused) as refused:
        single_move("r", "g2", ("g1", "g2"), [router], Gateways(good_since_s={"g1": 0.0, "g2": 0.0}), force=False)
    assert refused.value.code == "apart"
