"""Who carries a router: failover, drain, failback. Unknown moves nothing, and no group is ever emptied."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovenbird.model.errors import Refused
from ovenbird.plan.failback import ADOPT_EVERY_S, PENDING_S, YOUNG_S, Carried, Cause, Failback, Gateways, Memory, decide
from ovenbird.plan.gateway_moves import drain_moves, rebalancing, single_move, undrain_moves
from ovenbird.plan.gateway_readiness import BEHIND_S, HEARD_S, GatewayFacts, ReadinessWatch, judge_readiness
from ovenbird.plan.rebalance import Move, Seat, rebalance

NAMES = ("g1", "g2", "g3")
R1 = Carried(name="r1", order=NAMES, eligible=frozenset(NAMES), home="g1", carrier="g1", delay_s=60)
ALL_GOOD = Gateways(good_since_s=dict.fromkeys(NAMES, 0.0))
LOST_S = 300.0
LONG_AGO = Memory(changed_s=0.0, settled=True)


def test_a_failover_is_followed_and_the_home_is_kept():
    verdict = decide(replace(R1, carrier="g2"), LONG_AGO, ALL_GOOD, 100.0)
    assert (verdict.order, verdict.home, verdict.cause) == (("g2", "g1", "g3"), "g1", Cause.FAILOVER)


def test_a_delayed_router_goes_home_after_its_home_was_good_for_long_enough():
    away = replace(R1, order=("g2", "g1", "g3"), carrier="g2")
    good = replace(ALL_GOOD, good_since_s={**ALL_GOOD.good_since_s, "g1": 100.0})
    assert decide(away, LONG_AGO, good, 159.9).cause is None
    verdict = decide(away, LONG_AGO, good, 160.0)
    assert (verdict.order, verdict.cause) == (NAMES, Cause.FAILBACK)
    # At most one move per hold-down, however long the home has been good.
    assert decide(away, replace(LONG_AGO, changed_s=110.0), good, 169.0).cause is None


def test_manual_stays_and_preempt_does_not_follow():
    away = replace(R1, order=("g2", "g1", "g3"), carrier="g2")
    assert decide(replace(away, failback=Failback.MANUAL), LONG_AGO, ALL_GOOD, 1e9).cause is None
    failed_over = replace(R1, carrier="g2", failback=Failback.PREEMPT)
    assert decide(failed_over, LONG_AGO, ALL_GOOD, 1e9).order == NAMES


def test_who_was_put_first_has_time_to_take_the_router():
    moved = Memory(changed_s=100.0, settled=False)
    late = replace(R1, order=("g2", "g1", "g3"), home="g2", carrier="g1")
    assert decide(late, moved, ALL_GOOD, 100.0 + PENDING_S - 1).cause is None
    assert decide(late, moved, ALL_GOOD, 100.0 + PENDING_S).cause is Cause.FAILOVER
    died = replace(ALL_GOOD, dead=frozenset({"g2"}))
    assert decide(late, moved, died, 100.0 + YOUNG_S - 1).cause is None
    assert decide(late, moved, died, 100.0 + YOUNG_S).cause is Cause.FAILOVER, "or it would take it back on its return"


def test_a_request_for_who_is_first_already_gives_him_that_time_anew():
    waiting = replace(R1, order=("g2", "g1", "g3"), carrier="g1", asked="g2")
    asked = decide(waiting, LONG_AGO, ALL_GOOD, 100.0)
    assert (asked.order[0], asked.home, asked.cause) == ("g2", "g2", None)
    assert decide(replace(waiting, asked="", home="g2"), asked.memory, ALL_GOOD, 101.0).order[0] == "g2"


def test_gateways_that_claim_a_new_router_in_turn_are_not_followed():
    new = decide(R1, None, ALL_GOOD, 100.0).memory
    assert new.settled
    claimed = replace(R1, carrier="g2")
    assert decide(claimed, new, ALL_GOOD, 100.2).cause is None
    assert decide(claimed, new, ALL_GOOD, 100.0 + YOUNG_S).cause is Cause.FAILOVER


def test_gateways_that_fight_are_followed_seldom():
    fighting = replace(R1, carrier="g2")
    first = decide(fighting, LONG_AGO, ALL_GOOD, 100.0)
    other = replace(R1, order=first.order, carrier="g1")
    settled = replace(first.memory, settled=True)
    assert decide(other, settled, ALL_GOOD, 100.5).cause is None
    assert decide(other, settled, ALL_GOOD, 100.0 + ADOPT_EVERY_S).cause is Cause.FAILOVER


def test_a_drained_gateway_goes_last_and_a_single_place_has_two_members_meanwhile():
    drained = replace(ALL_GOOD, drained=frozenset({"g1"}))
    verdict = decide(R1, LONG_AGO, drained, 1.0)
    assert (verdict.order, verdict.cause) == (("g2", "g3", "g1"), Cause.DRAIN)
    only = replace(R1, order=("g1",), count=1)
    verdict = decide(only, LONG_AGO, drained, 1.0)
    assert verdict.order == ("g2", "g1")
    assert decide(replace(only, order=verdict.order, carrier="g2"), verdict.memory, drained, 2.0).order == ("g2",)


def test_unfit_is_treated_as_drained_and_nobody_good_keeps_what_there_is():
    assert decide(R1, LONG_AGO, replace(ALL_GOOD, unfit=frozenset({"g1"})), 1.0).cause is Cause.UNFIT
    nobody = Gateways(drained=frozenset({"g1"}))
    assert decide(R1, LONG_AGO, nobody, 1.0).order[0] == "g1"
    everybody = replace(ALL_GOOD, unfit=frozenset(NAMES))
    assert decide(R1, LONG_AGO, everybody, 1.0).order == NAMES


def test_a_request_moves_once_and_makes_a_home():
    verdict = decide(replace(R1, asked="g3"), LONG_AGO, ALL_GOOD, 1.0)
    assert (verdict.order[0], verdict.home, verdict.cause) == ("g3", "g3", Cause.MOVE)


carried = st.builds(
    lambda order, home, asked, carrier, failback, count: Carried(
        name="r",
        order=tuple(order),
        eligible=frozenset(NAMES),
        home=home,
        asked=asked,
        carrier=carrier,
        failback=failback,
        count=count,
    ),
    st.lists(st.sampled_from(NAMES), min_size=1, unique=True),
    st.sampled_from((*NAMES, "gone")),
    st.sampled_from(("", *NAMES, "gone")),
    st.sampled_from((None, *NAMES)),
    st.sampled_from(Failback),
    st.integers(1, 3),
)
known = st.builds(
    Gateways,
    drained=st.frozensets(st.sampled_from(NAMES)),
    unfit=st.frozensets(st.sampled_from(NAMES)),
    good_since_s=st.dictionaries(st.sampled_from(NAMES), st.floats(0, 100)),
)
memories = st.none() | st.builds(Memory, changed_s=st.floats(0, 100), settled=st.booleans())


@given(carried, memories, known, st.floats(100, 300))
def test_no_group_is_emptied_and_deciding_again_changes_nothing(router, memory, gateways, now_s):
    verdict = decide(router, memory, gateways, now_s)
    assert verdict.order
    assert len(set(verdict.order)) == len(verdict.order)
    assert router.carrier is None or router.carrier not in router.order or router.carrier in verdict.order
    again = decide(replace(router, order=verdict.order, home=verdict.home, asked=""), verdict.memory, gateways, now_s)
    assert (again.order, again.home) == (verdict.order, verdict.home)


@given(carried, memories, known, st.floats(100, 300))
def test_only_a_gateway_that_is_known_to_be_good_or_carries_is_put_first(router, memory, gateways, now_s):
    verdict = decide(router, memory, gateways, now_s)
    if verdict.order[0] != router.order[0]:
        first = verdict.order[0]
        assert first not in gateways.excluded
        assert first in gateways.good_since_s or first == router.carrier


@given(carried, memories, st.floats(100, 300))
def test_when_nothing_is_known_nothing_moves(router, memory, now_s):
    verdict = decide(replace(router, carrier=None), memory, Gateways(), now_s)
    assert verdict.order[0] == router.order[0]


# Readiness.

GOOD = GatewayFacts(
    name="g1",
    registered=True,
    behind=False,
    heartbeat_age_s=1.0,
    daemons_run=True,
    connected=True,
    bfd=(True, False),
    incarnation="a",
)


@pytest.mark.parametrize(
    ("fields", "good"),
    [
        ({}, True),
        ({"registered": False}, False),
        ({"registered": None}, None),
        ({"heartbeat_age_s": HEARD_S + 1}, None),
        ({"heartbeat_age_s": None, "connected": False}, None),
        ({"daemons_run": False}, False),
        ({"connected": None}, None),
        ({"held": True}, False),
        ({"held": None}, None),
        ({"dead": True}, False),
        ({"bfd": (False,)}, False),
        ({"bfd": (None, False)}, None),
        ({"bfd": ()}, True),
        ({"behind": None}, None),
    ],
)
def test_good_needs_every_piece_of_evidence(fields, good):
    found = judge_readiness(replace(GOOD, **fields))
    assert found.good is good
    assert bool(found.why) is (good is not True)


def test_since_when_counts_anew_after_a_restart_and_a_short_lag_does_not_count():
    watch = ReadinessWatch(LOST_S)
    assert watch.look([GOOD], 1.0) == {"g1": 1.0}
    behind = replace(GOOD, behind=True)
    assert watch.look([behind], 2.0) == {"g1": 1.0}
    assert watch.look([GOOD], 3.0) == {"g1": 1.0}
    assert watch.look([replace(GOOD, incarnation="b")], 4.0) == {"g1": 4.0}
    watch.look([replace(behind, incarnation="b")], 5.0)
    assert watch.look([replace(behind, incarnation="b")], 5.0 + BEHIND_S) == {}


def test_a_gateway_that_was_not_good_for_long_loses_its_place_and_only_then():
    watch = ReadinessWatch(LOST_S)
    off = replace(GOOD, name="g2", daemons_run=False)
    watch.look([GOOD, off], 0.0)
    assert watch.lost(LOST_S - 1) == frozenset()
    watch.look([GOOD, off], LOST_S)
    assert watch.lost(LOST_S) == {"g2"}
    watch.look([GOOD, replace(off, daemons_run=True)], LOST_S + 1)
    assert watch.lost(LOST_S + 1) == frozenset()
    watch.look([replace(GOOD, registered=None), replace(off, registered=None)], LOST_S + 2)
    assert watch.lost(LOST_S * 3) == frozenset(), "nobody is known to be good: it is we who are blind"


def test_a_lost_gateway_comes_last_and_no_traffic_moves():
    lost = Gateways(good_since_s={"g1": 0.0, "g3": 0.0}, lost=frozenset({"g2"}))
    verdict = decide(R1, LONG_AGO, lost, 1000.0)
    assert (verdict.order, verdict.cause) == (("g1", "g3", "g2"), None)
    carries = replace(R1, order=("g2", "g1", "g3"), carrier="g2")
    assert decide(replace(carries, home="g2"), LONG_AGO, lost, 1000.0).order[0] == "g2"


# What operators ask for.


def test_the_last_gateway_is_not_drained_unless_forced():
    drained = replace(ALL_GOOD, drained=frozenset({"g2", "g3"}))
    with pytest.raises(Refused) as refused:
        drain_moves("g1", NAMES, [R1], drained, force=False)
    assert refused.value.code == "last_gateway"
    assert drain_moves("g1", NAMES, [R1], drained, force=True) == ()
    assert drain_moves("g1", NAMES, [R1], ALL_GOOD, force=False) == (Move("r1", "g1", "g2"),)
    with pytest.raises(Refused):
        drain_moves("g1", NAMES, [R1], Gateways(good_since_s={"g1": 0.0}), force=False)


def test_undrain_tells_who_comes_back_when():
    drained = replace(ALL_GOOD, drained=frozenset({"g1"}))
    away = replace(R1, order=("g2", "g3", "g1"), carrier="g2")
    (later,) = undrain_moves("g1", NAMES, [away], drained)
    assert (later.move, later.after_s) == (Move("r1", "g2", "g1"), 60)
    assert undrain_moves("g1", NAMES, [replace(away, failback=Failback.MANUAL)], drained) == ()


def test_a_move_to_a_gateway_that_must_not_carry_it_is_refused():
    for gateways, code in ((replace(ALL_GOOD, drained=frozenset({"g2"})), "excluded"), (Gateways(), "not_good")):
        with pytest.raises(Refused) as refused:
            single_move("r1", "g2", NAMES, [R1], gateways, force=False)
        assert refused.value.code == code
    assert single_move("r1", "g1", NAMES, [R1], ALL_GOOD, force=False) == ()


@given(st.lists(st.sampled_from(NAMES), max_size=40), st.integers(1, 3))
def test_rebalance_is_even_by_the_fewest_moves_and_idempotent(places, good_count):
    good = frozenset(NAMES[:good_count])
    seats = [
        Seat(router=f"r{number:02}", at=at, home=at, places=good) for number, at in enumerate(places) if at in good
    ]
    moves = rebalance(seats)
    at = {seat.router: seat.at for seat in seats} | {move.router: move.after for move in moves}
    counts = [list(at.values()).count(name) for name in sorted(good)]
    assert not seats or max(counts) - min(counts) <= 1
    before = sorted((sum(seat.at == name for seat in seats) for name in good), reverse=True)
    share, more = divmod(len(seats), len(good))
    assert len(moves) == sum(max(0, count - share - (position < more)) for position, count in enumerate(before))
    assert rebalance([replace(seat, at=at[seat.router]) for seat in seats]) == ()


def test_rebalance_prefers_home_and_leaves_alone_who_goes_home_by_himself():
    away = [
        replace(R1, name=name, order=("g2", "g1"), carrier="g2", home=home, failback=Failback.MANUAL)
        for name, home in (("a", "g2"), ("b", "g1"))
    ]
    two = Gateways(good_since_s={"g1": 0.0, "g2": 0.0})
    assert rebalancing(away, two) == (Move("b", "g2", "g1"),)
    waiting = [replace(router, failback=Failback.DELAYED) for router in away]
    assert rebalancing(waiting, two) == ()
    assert rebalancing(waiting, Gateways(good_since_s={"g2": 0.0})) == ()
