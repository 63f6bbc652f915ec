"""Planned moves take turns: a few at a time, all legs of a router together, and none that is no longer wanted."""

from __future__ import annotations

from ovenbird.controller.handed import AT_ONCE, Handed
from ovenbird.model.objects import Key
from ovenbird.plan.rebalance import Move


def filled(*legs: str) -> Handed:
    handed = Handed()
    for leg in legs:
        handed.add(Move(leg, "g1", "g2"))
    return handed


def names(moves: tuple[Move, ...]) -> list[str]:
    return [move.router for move in moves]


def test_all_are_taken_once_and_few_at_a_time() -> None:
    legs = [f"r{number:03}" for number in range(2 * AT_ONCE + 3)]
    handed = filled(*reversed(legs))
    turns = [names(handed.take(lambda _: "g2")) for _ in range(4)]
    assert turns == [legs[:AT_ONCE], legs[AT_ONCE : 2 * AT_ONCE], legs[2 * AT_ONCE :], []]
    assert not handed.routers


def test_legs_of_one_router_are_not_parted() -> None:
    legs = [*(f"r{number:03}" for number in range(AT_ONCE - 1)), "x", "x_b", "x_c"]
    handed = filled(*legs)
    assert names(handed.take(lambda _: "g2")) == legs[: AT_ONCE - 1]
    assert handed.routers == {Key("Router", "x")}
    assert names(handed.take(lambda _: "g2")) == ["x", "x_b", "x_c"]


def test_one_router_with_more_legs_than_a_turn_has_is_moved_all_the_same() -> None:
    legs = [f"x_{number:03}" for number in range(AT_ONCE + 2)]
    assert names(filled(*legs).take(lambda _: "g2")) == legs


def test_what_is_no_longer_wanted_is_forgotten() -> None:
    handed = filled("r1", "r2")
    assert names(handed.take(lambda leg: "g3" if leg == "r1" else "g2")) == ["r2"]
    assert not handed.routers


def test_the_latest_word_counts() -> None:
    handed = filled("r1")
    handed.add(Move("r1", "g2", "g1"))
    assert handed.take(lambda _: "g1") == (Move("r1", "g2", "g1"),)
