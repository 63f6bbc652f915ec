"""Health rules: each triggered by one example and kept quiet by a near miss; and what must hold for every snapshot."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovenbird.plan.health import (
    CONFIRM_STALE_S,
    HEARTBEAT_STALE_S,
    LAG_GRACE_S,
    Verdict,
    alive,
    judge,
    sessions_needed,
    unfit,
)
from ovenbird.plan.observation import (
    Autonomy,
    Bfd,
    Chassis,
    Controller,
    DatabaseView,
    GatewayFitness,
    Member,
    MemberState,
    Northd,
    NorthdState,
    Problem,
    RouterView,
    Snapshot,
)

L, F, D, A, U = (
    MemberState.LEADER,
    MemberState.FOLLOWER,
    MemberState.DISCONNECTED,
    MemberState.ABSENT,
    MemberState.UNKNOWN,
)
HOSTS = ("c1", "c2", "c3")
GATEWAYS = ("g1", "g2")
CID = "11111111-1111-4111-8111-111111111111"
OTHER_CID = "22222222-2222-4222-8222-222222222222"


def database(name="nb", states=(L, F, F)):
    members = [
        Member(host=host, remote=f"tcp:10.0.0.{n}:6641", state=state, cid="" if state in (A, U) else CID, term=3)
        for n, (host, state) in enumerate(zip(HOSTS, states, strict=False), 1)
    ]
    return DatabaseView(name=name, members=tuple(members))


def bfd(host, peer, up=True, age_s=1.0):
    return Bfd(host=host, peer=peer, up=up, age_s=age_s)


def router(name="r1", **changes):
    seen = RouterView(
        name=name, binding=f"cr-{name}_public", active="g1", gateways=(("g1", 100), ("g2", 99)), peers=frozenset({"n1"})
    )
    return replace(seen, **changes)


def healthy(**changes):
    seen = Snapshot(
        cluster="lab",
        observer="c1",
        at_s=1_000_000.0,
        databases=tuple(database(name) for name in ("nb", "sb", "ovenbird")),
        northds=tuple(
            Northd(host=host, state=NorthdState.ACTIVE if host == "c1" else NorthdState.STANDBY) for host in HOSTS
        ),
        controller=Controller(
            holder="c2", epoch=7, nb_epoch=7, declared_revision=4, nb_revision=4, confirmed_age_s=1.0
        ),
        sb_cfg=12,
        sb_cfg_age_s=60.0,
        chassis=tuple(
            Chassis(name=name, registered=True, nb_cfg=12, heartbeat_age_s=2.0) for name in (*GATEWAYS, "n1", "n2")
        ),
        bfd=(bfd("g1", "g2"), bfd("g2", "g1"), bfd("g1", "n1"), bfd("n1", "g1"), bfd("g2", "n1"), bfd("n1", "g2")),
        routers=(router(),),
    )
    return replace(seen, **changes)


def nb(*states):
    return healthy(databases=(database(states=states), database("sb"), database("ovenbird")))


def northds(*states, told_age_s=None):
    """The first is asked live, the others are what their agents told so long ago."""
    ages = (None, told_age_s, told_age_s)
    return healthy(
        northds=tuple(
            Northd(host=host, state=state, age_s=age) for host, state, age in zip(HOSTS, states, ages, strict=True)
        )
    )


def controller(**changes):
    return healthy(controller=replace(healthy().controller, **changes))


def chassis(name, **changes):
    """Return a healthy snapshot in which one chassis differs."""
    return healthy(chassis=tuple(replace(c, **changes) if c.name == name else c for c in healthy().chassis))


def told(**ups):
    """Return a healthy snapshot in which some ends of BFD sessions, `g1_g2=False`, tell something else."""
    changed = {tuple(pair.split("_")): up for pair, up in ups.items()}
    return healthy(bfd=tuple(replace(b, up=changed.get((b.host, b.peer), b.up)) for b in healthy().bfd))


def two_clusters():
    view = database()
    return healthy(databases=(replace(view, members=(*view.members[:2], replace(view.members[2], cid=OTHER_CID))),))


ACTIVE, STANDBY, PAUSED = NorthdState.ACTIVE, NorthdState.STANDBY, NorthdState.PAUSED
STOPPED, NOT_ASKED = NorthdState.STOPPED, NorthdState.UNKNOWN
DEAD_G1 = {"g1_g2": False, "g2_g1": False, "g1_n1": False, "n1_g1": False}

BAD_GATEWAY = GatewayFitness(name="g1", physnet="ext", bad=("uplink: eth1 has no carrier",), unfit="uplink: ...")
HELD_GATEWAY = GatewayFitness(name="g1", physnet="ext", unfit="uplink: eth1 has no carrier")

TRIGGERS = {
    "database.no_quorum": (nb(D, A, A), Verdict.DOWN),
    "database.cut_off": (nb(D, U, U), Verdict.DOWN),
    "database.no_leader": (nb(F, F, F), Verdict.DEGRADED),
    "database.two_leaders": (nb(L, L, F), Verdict.DEGRADED),
    "database.two_clusters": (two_clusters(), Verdict.DEGRADED),
    "database.member_missing": (nb(L, F, A), Verdict.DEGRADED),
    "database.member_unknown": (nb(L, F, U), Verdict.DEGRADED),
    "northd.none_active": (northds(STANDBY, STOPPED, PAUSED), Verdict.DOWN),
    "northd.taking_over": (northds(STANDBY, STANDBY, STOPPED, told_age_s=1.0), Verdict.DEGRADED),
    "northd.unknown_active": (northds(STANDBY, STANDBY, NOT_ASKED), Verdict.DEGRADED),
    "northd.two_active": (northds(ACTIVE, ACTIVE, STANDBY), Verdict.DEGRADED),
    "northd.missing": (northds(ACTIVE, STANDBY, STOPPED), Verdict.DEGRADED),
    "northd.unknown": (northds(ACTIVE, STANDBY, NOT_ASKED), Verdict.DEGRADED),
    "controller.none": (controller(holder=""), Verdict.DEGRADED),
    "controller.unknown": (controller(holder=None), Verdict.DEGRADED),
    "controller.fence": (controller(nb_epoch=6), Verdict.DEGRADED),
    "controller.silent": (controller(confirmed_age_s=CONFIRM_STALE_S + 1), Verdict.DEGRADED),
    "controller.behind": (controller(nb_revision=3), Verdict.DEGRADED),
    "chassis.unregistered": (chassis("n2", registered=False), Verdict.DEGRADED),
    "chassis.unknown": (chassis("n2", registered=None), Verdict.DEGRADED),
    "chassis.agent_silent": (chassis("n2", heartbeat_age_s=HEARTBEAT_STALE_S + 1), Verdict.DEGRADED),
    "chassis.agent_unknown": (chassis("n2", heartbeat_age_s=None), Verdict.DEGRADED),
    "chassis.lagging": (chassis("n2", nb_cfg=11), Verdict.DEGRADED),
    "chassis.daemon_dead": (chassis("n2", dead_daemons=("ovs-vswitchd",)), Verdict.DEGRADED),
    "chassis.disconnected": (chassis("n2", connected=False), Verdict.DEGRADED),
    "chassis.undeclared": (chassis("n2", declared=False), Verdict.DEGRADED),
    "bfd.down": (told(g1_n1=False), Verdict.DEGRADED),
    "bfd.unknown": (told(g1_g2=None, g2_g1=None), Verdict.DEGRADED),
    "router.no_gateway": (healthy(routers=(router(active=""),)), Verdict.DOWN),
    "router.unknown": (healthy(routers=(router(active=None),)), Verdict.DEGRADED),
    "router.moved": (healthy(routers=(router(active="g2"),)), Verdict.DEGRADED),
    "router.last_gateway": (told(g1_g2=False, n1_g2=False, g2_g1=False, g2_n1=False), Verdict.DEGRADED),
    "gateway.bad": (healthy(fitness=(BAD_GATEWAY,)), Verdict.DEGRADED),
    "gateway.held_down": (healthy(fitness=(HELD_GATEWAY,)), Verdict.DEGRADED),
    "gateway.needs_central": (
        healthy(autonomy=(Autonomy(name="g1", works_alone=False, why="its relay holds nothing"),)),
        Verdict.DEGRADED,
    ),
    "gateway.on_copy": (healthy(autonomy=(Autonomy(name="g1", works_alone=True, path="copy"),)), Verdict.DEGRADED),
    "gateway.apart": (healthy(apart=frozenset({"partition g1 g2"})), Verdict.DEGRADED),
    "problem": (healthy(problems=(Problem("Router/r1", "its name is taken"),)), Verdict.DEGRADED),
}

NEAR_MISSES = {
    "database.no_quorum": nb(L, F, A),
    "database.cut_off": nb(D, F, U),
    "database.no_leader": nb(F, F, U),
    "database.two_leaders": nb(L, F, F),
    "database.two_clusters": nb(L, F, A),
    "database.member_missing": nb(L, F, U),
    "database.member_unknown": nb(L, F, A),
    "northd.none_active": northds(STANDBY, STOPPED, NOT_ASKED),
    "northd.taking_over": northds(STANDBY, PAUSED, STOPPED, told_age_s=1.0),
    "northd.unknown_active": northds(ACTIVE, STANDBY, NOT_ASKED),
    "northd.two_active": northds(ACTIVE, STANDBY, STANDBY),
    "northd.missing": northds(ACTIVE, STANDBY, NOT_ASKED),
    "northd.unknown": northds(STANDBY, STANDBY, NOT_ASKED),
    "controller.none": controller(holder="c1"),
    "controller.unknown": controller(holder=""),
    "controller.fence": controller(nb_epoch=7),
    "controller.silent": controller(confirmed_age_s=CONFIRM_STALE_S),
    "controller.behind": controller(nb_revision=5),
    "chassis.unregistered": chassis("n2", registered=None),
    "chassis.unknown": chassis("n2", registered=False),
    "chassis.agent_silent": chassis("n2", heartbeat_age_s=HEARTBEAT_STALE_S),
    "chassis.agent_unknown": chassis("n2", heartbeat_age_s=HEARTBEAT_STALE_S + 1),
    "chassis.lagging": replace(chassis("n2", nb_cfg=11), sb_cfg_age_s=LAG_GRACE_S),
    "chassis.daemon_dead": chassis("n2", dead_daemons=("ovs-vswitchd",), heartbeat_age_s=HEARTBEAT_STALE_S + 1),
    "chassis.disconnected": chassis("n2", connected=None),
    "chassis.undeclared": chassis("n2", declared=True),
    "bfd.down": told(g1_g2=None),
    "bfd.unknown": told(g1_g2=None),
    "router.no_gateway": healthy(routers=(router(active=None),)),
    "router.unknown": healthy(routers=(router(active=""),)),
    "router.moved": healthy(routers=(router(gateways=(("g1", 5),)),)),
    "router.last_gateway": healthy(routers=(router(gateways=(("g1", 5),)),)),
    "gateway.bad": healthy(fitness=(HELD_GATEWAY,)),
    "gateway.held_down": healthy(fitness=(BAD_GATEWAY,)),
    "gateway.needs_central": healthy(autonomy=(Autonomy(name="g1", works_alone=None),)),
    "gateway.on_copy": healthy(autonomy=(Autonomy(name="g1", works_alone=True, path="members"),)),
    "gateway.apart": healthy(apart=frozenset()),
    "problem": healthy(),
}


def test_everything_in_order_is_healthy():
    assert judge(healthy()).reasons == ()
    assert judge(healthy()).verdict is Verdict.HEALTHY


@pytest.mark.parametrize("rule", TRIGGERS)
def test_rule_triggers(rule):
    snapshot, verdict = TRIGGERS[rule]
    found = [reason for reason in judge(snapshot).reasons if reason.rule == rule]
    assert [reason.verdict for reason in found] == [verdict] * len(found) != []
    assert judge(snapshot).verdict is verdict


@pytest.mark.parametrize("rule", NEAR_MISSES)
def test_rule_keeps_quiet_at_a_near_miss(rule):
    assert rule not in {reason.rule for reason in judge(NEAR_MISSES[rule]).reasons}


def test_every_rule_of_the_table_has_an_example_and_a_near_miss():
    from ovenbird.plan import health

    lines = [line for line in (health.__doc__ or "").splitlines() if line.startswith("| ")]
    table = {line.split("|")[1].strip() for line in lines} - {"rule"}
    assert table == set(TRIGGERS) == set(NEAR_MISSES)


def test_one_stranded_router_of_two_degrades_and_all_of_them_are_down():
    one = judge(healthy(routers=(router(), router("r2", active=""))))
    both = judge(healthy(routers=(router(active=""), router("r2", active=""))))
    assert (one.verdict, both.verdict) == (Verdict.DEGRADED, Verdict.DOWN)


def test_a_router_whose_gateway_everybody_sees_dead_is_stranded_until_the_standby_takes_over():
    before = told(**DEAD_G1)
    after = replace(before, routers=(router(active="g2"),))
    assert "router.no_gateway" in {reason.rule for reason in judge(before).reasons}
    rules = {reason.rule for reason in judge(after).reasons}
    assert "router.no_gateway" not in rules
    assert {"router.moved", "router.last_gateway", "bfd.down"} <= rules


def test_a_gateway_that_nobody_hears_is_dead_whatever_it_last_said_of_itself():
    snapshot = told(g2_g1=False, n1_g1=False)
    assert alive(snapshot, "g1") is False
    assert alive(told(g2_g1=False), "g1") is True
    assert alive(told(g2_g1=None, n1_g1=None), "g1") is True
    assert alive(replace(snapshot, bfd=()), "g1") is True
    assert alive(replace(chassis("g1", heartbeat_age_s=None), bfd=()), "g1") is None


def test_a_silent_agent_does_not_make_its_gateway_dead():
    snapshot = chassis("g1", heartbeat_age_s=3600.0)
    assert {reason.rule for reason in judge(snapshot).reasons} == {"chassis.agent_silent"}


def test_bfd_that_was_told_long_ago_is_unknown():
    old = healthy(bfd=tuple(replace(b, age_s=HEARTBEAT_STALE_S + 1, up=False) for b in healthy().bfd))
    assert {reason.rule for reason in judge(old).reasons} == {"bfd.unknown"}


def test_groups_of_one_need_no_bfd_and_others_need_each_pair_once():
    assert sessions_needed((router(gateways=(("g1", 5),)),)) == []
    assert sessions_needed((router(), router("r2"))) == [("g1", "g2"), ("g1", "n1"), ("g2", "n1")]


def test_no_routers_need_neither_gateways_nor_bfd():
    assert judge(healthy(routers=(), bfd=())).verdict is Verdict.HEALTHY


def test_reasons_come_worst_first():
    snapshot = replace(nb(D, A, A), problems=(Problem("Router/r1", "x"),))
    severities = [reason.verdict for reason in judge(snapshot).reasons]
    assert severities == sorted(severities, key=[Verdict.DOWN, Verdict.DEGRADED].index)
    assert set(severities) == {Verdict.DOWN, Verdict.DEGRADED}


members = st.sampled_from([L, F, U])
known_or_not = st.sampled_from([True, None])


@st.composite
def partly_unknown(draw):
    """Draw a healthy snapshot in which any part may not have been asked."""
    seen = healthy()
    views = tuple(
        replace(view, members=tuple(replace(m, state=draw(st.sampled_from([m.state, U]))) for m in view.members))
        for view in seen.databases
    )
    return replace(
        seen,
        databases=draw(st.sampled_from([views, ()])),
        northds=tuple(replace(n, state=draw(st.sampled_from([n.state, NOT_ASKED]))) for n in seen.northds),
        controller=replace(
            seen.controller,
            holder=draw(st.sampled_from(["c2", None])),
            nb_epoch=draw(st.sampled_from([7, None])),
            nb_revision=draw(st.sampled_from([4, None])),
            confirmed_age_s=draw(st.sampled_from([1.0, None])),
        ),
        sb_cfg=draw(st.sampled_from([12, None])),
        sb_cfg_age_s=draw(st.sampled_from([60.0, None])),
        chassis=tuple(
            replace(
                c,
                registered=draw(known_or_not),
                nb_cfg=draw(st.sampled_from([12, None])),
                heartbeat_age_s=draw(st.sampled_from([2.0, 500.0, None])),
            )
            for c in seen.chassis
        ),
        bfd=tuple(replace(b, up=draw(known_or_not)) for b in seen.bfd),
        routers=draw(st.sampled_from([seen.routers, None, (router(active=None),)])),
    )


@given(partly_unknown())
def test_unknown_alone_is_never_down(snapshot):
    assert judge(snapshot).verdict is not Verdict.DOWN


@given(partly_unknown())
def test_whatever_is_unknown_is_never_healthy(snapshot):
    asked = (
        all(m.state is not U for view in snapshot.databases for m in view.members)
        and all(n.state is not NOT_ASKED for n in snapshot.northds)
        and snapshot.controller.holder is not None
        and snapshot.controller.nb_epoch is not None
        and all(c.registered is not None and c.heartbeat_age_s == 2.0 for c in snapshot.chassis)
        and snapshot.routers == healthy().routers
    )
    if not asked:
        assert judge(snapshot).verdict is not Verdict.HEALTHY


def test_a_gateway_with_something_bad_is_named_with_its_evidence():
    found = judge(healthy(fitness=(BAD_GATEWAY,)))
    assert [(one.rule, one.subject) for one in found.reasons] == [("gateway.bad", "g1")]
    assert "eth1 has no carrier" in found.reasons[0].message
    unjudged = replace(BAD_GATEWAY, bad=(), unfit=None)
    assert judge(healthy(fitness=(unjudged,))).verdict is Verdict.HEALTHY


def test_who_is_unfit_is_so_for_routers_of_that_physical_network_only():
    seen = healthy(fitness=(GatewayFitness(name="g1", physnet="ext", bad=("uplink: dead",), unfit=None),))
    assert unfit(seen, router(physnet="ext"), "g1") == "uplink: dead"
    assert unfit(seen, router(physnet="other"), "g1") == ""
    assert unfit(seen, router(physnet="ext"), "g2") == ""
