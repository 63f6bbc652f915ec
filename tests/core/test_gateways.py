"""The gateway scheduler: balance for new routers, stability for old ones, and why a router has no gateway."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from ovenbird.plan.gateways import RouterNeed, schedule
from ovenbird.plan.rebalance import Seat, rebalance
from ovenbird.plan.rows import Gateway, Placement

NAMES = [f"gw{number}" for number in range(1, 7)]
Orders = Mapping[str, tuple[tuple[str, int], ...]]


def gateways(count: int, physnets: str = "ext") -> list[Gateway]:
    return [Gateway(name=name, physnets=frozenset(physnets.split())) for name in NAMES[:count]]


def needs(count: int, wanted: int = 5, physnet: str = "ext") -> list[RouterNeed]:
    return [RouterNeed(name=f"r{number:03}", physnet=physnet, count=wanted) for number in range(count)]


def leaders(orders: Orders, *, failed: str = "") -> Counter[str]:
    """Count who leads, as OVN decides it: the greatest priority that lives."""
    alive = ([(priority, name) for name, priority in order if name != failed] for order in orders.values())
    return Counter(max(members)[1] for members in alive if members)


def spread(counts: Counter[str], names: list[str]) -> int:
    return max(counts[name] for name in names) - min(counts[name] for name in names)


some_gateways = st.lists(
    st.builds(Gateway, name=st.sampled_from(NAMES), physnets=st.frozensets(st.sampled_from(["ext", "dmz"]))),
    unique_by=lambda gateway: gateway.name,
)
some_needs = st.lists(
    st.builds(
        RouterNeed,
        name=st.sampled_from([f"r{number}" for number in range(12)]),
        physnet=st.sampled_from(["ext", "dmz"]),
        count=st.integers(1, 5),
    ),
    unique_by=lambda need: need.name,
)


def test_first_router_goes_to_all_with_falling_priorities():
    placed = schedule(needs(1), gateways(3), Placement()).placement.routers
    assert placed == {"r000": (("gw1", 100), ("gw2", 90), ("gw3", 80))}


@given(st.integers(1, 6), st.integers(0, 60), st.integers(1, 5))
def test_new_routers_are_balanced_also_after_any_one_failure(gateway_count, router_count, wanted):
    names = NAMES[:gateway_count]
    placed = schedule(needs(router_count, wanted), gateways(gateway_count), Placement()).placement.routers
    assert spread(leaders(placed), names) <= 1
    if wanted > 1:
        for failed in names:
            left = [name for name in names if name != failed]
            if left:
                assert spread(leaders(placed, failed=failed), left) <= 2


@given(st.integers(2, 5), st.integers(1, 40))
def test_routers_that_come_one_by_one_end_as_balanced(gateway_count, router_count):
    current = Placement()
    for number in range(router_count):
        current = schedule(needs(number + 1), gateways(gateway_count), current).placement
    assert spread(leaders(current.routers), NAMES[:gateway_count]) <= 1


@given(some_needs, some_gateways, some_gateways)
def test_order_is_kept_only_eligible_serve_and_priorities_fall(routers, before, after):
    first = schedule(routers, before, Placement()).placement
    second = schedule(routers, after, first)
    eligible = {
        router.name: {gateway.name for gateway in after if router.physnet in gateway.physnets} for router in routers
    }
    assert {unplaced.router for unplaced in second.unplaced} == {name for name, able in eligible.items() if not able}
    for router in routers:
        order = [name for name, _ in second.placement.routers.get(router.name, ())]
        priorities = [priority for _, priority in second.placement.routers.get(router.name, ())]
        survivors = [name for name, _ in first.routers.get(router.name, ()) if name in eligible[router.name]]
        assert order[: len(survivors)] == survivors
        assert set(order) <= eligible[router.name]
        assert len(order) == len(set(order)) == min(router.count, len(eligible[router.name]))
        assert priorities == sorted(set(priorities), reverse=True)
        assert all(0 <= priority <= 32767 for priority in priorities)


@given(some_needs, some_gateways)
def test_nothing_changed_nothing_moves(routers, there):
    first = schedule(routers, there, Placement())
    assert schedule(list(reversed(routers)), list(reversed(there)), first.placement) == first


def test_a_new_gateway_moves_no_leader_and_leads_the_next_router():
    current = schedule(needs(6), gateways(2), Placement()).placement
    grown = schedule(needs(6), gateways(3), current).placement
    assert leaders(grown.routers) == leaders(current.routers)
    assert all([name for name, _ in order][-1] == "gw3" for order in grown.routers.values())
    more = schedule(needs(7), gateways(3), grown).placement
    assert more.routers["r006"][0][0] == "gw3"


def test_priorities_that_someone_raised_are_kept():
    raised = Placement(routers={"r000": (("gw2", 105), ("gw1", 100))})
    assert schedule(needs(1), gateways(3), raised).placement.routers["r000"] == (
        ("gw2", 105),
        ("gw1", 100),
        ("gw3", 90),
    )


def test_priorities_without_room_are_numbered_again():
    low = Placement(routers={"r000": (("gw2", 7), ("gw1", 3))})
    assert schedule(needs(1), gateways(3), low).placement.routers["r000"] == (("gw2", 100), ("gw1", 90), ("gw3", 80))


def test_no_eligible_gateway_is_explained():
    result = schedule(needs(1, physnet="dmz"), gateways(2), Placement())
    assert result.placement.routers == {}
    assert result.unplaced[0].detail == "Router/r000 has no gateway: none of gw1, gw2 has an uplink to dmz"
    assert "no host with role gateway" in schedule(needs(1), [], Placement()).unplaced[0].detail


def test_a_router_that_is_gone_is_forgotten():
    current = schedule(needs(2), gateways(2), Placement()).placement
    assert schedule(needs(1), gateways(2), current).placement.routers.keys() == {"r000"}


def test_fewer_wanted_keeps_the_first():
    current = schedule(needs(1), gateways(4), Placement()).placement
    fewer = schedule(needs(1, wanted=2), gateways(4), current).placement
    assert fewer.routers["r000"] == current.routers["r000"][:2]


def test_a_hundred_routers_are_level_before_and_after_any_one_of_four_gateways_fails():
    placed = schedule(needs(100), gateways(4), Placement()).placement.routers
    assert spread(leaders(placed), NAMES[:4]) == 0
    for failed in NAMES[:4]:
        assert spread(leaders(placed, failed=failed), [name for name in NAMES[:4] if name != failed]) <= 1


def zoned(*zones: str) -> list[Gateway]:
    return [
        Gateway(name=name, physnets=frozenset(["ext"]), zone=zone) for name, zone in zip(NAMES, zones, strict=False)
    ]


@given(st.integers(1, 40), st.permutations(["a", "a", "b", "b", "c"]))
def test_the_next_gateway_is_in_another_zone_as_long_as_there_is_one(router_count, zones):
    there = zoned(*zones)
    zone_of = {gateway.name: gateway.zone for gateway in there}
    placed = schedule(needs(router_count), there, Placement()).placement.routers
    for order in placed.values():
        assert {zone_of[name] for name, _ in order[:3]} == {"a", "b", "c"}
    assert spread(leaders(placed), list(zone_of)) <= 1


def test_routers_are_spread_by_weight_and_rebalanced_so():
    there = [
        Gateway(name="gw1", physnets=frozenset(["ext"]), weight=3),
        Gateway(name="gw2", physnets=frozenset(["ext"]), weight=1),
    ]
    placed = schedule(needs(12), there, Placement()).placement.routers
    assert leaders(placed) == {"gw1": 9, "gw2": 3}
    places = frozenset(["gw1", "gw2"])
    seats = [Seat(router=f"r{number:03}", at="gw2", home="gw2", places=places) for number in range(12)]
    moves = rebalance(seats, {"gw1": 3})
    assert len(moves) == 9
    after = {seat.router: seat.at for seat in seats} | {move.router: move.after for move in moves}
    settled = [Seat(router=router, at=at, home=at, places=places) for router, at in after.items()]
    assert rebalance(settled, {"gw1": 3}) == ()
