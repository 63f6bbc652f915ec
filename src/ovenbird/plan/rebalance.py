"""Fewest moves after which gateways carry as many routers each, give or take one.

Only between gateways that are known to be good. A router that waits for its home gateway is left alone: it goes home by
itself. With nothing changed, the second answer is always "no move".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """Where a router counts."""

    router: str
    at: str
    """Gateway that it is on, or will be by itself."""
    home: str
    places: frozenset[str]
    """Good gateways that may carry it."""


@dataclass(frozen=True, slots=True, order=True)
class Move:
    """A router that would leave one gateway for another."""

    router: str
    before: str
    after: str


def rebalance(seats: Sequence[Seat], weights: Mapping[str, int] | None = None) -> tuple[Move, ...]:
    """Return the moves, by router. `weights`: gateway -> how much it should carry; 1 for those that are not in it.

    If all routers may be on the same gateways, those then have as many routers each, give or take one, and no fewer
    moves would do. A router goes home rather than elsewhere.
    """
    at: dict[str, dict[str, Seat]] = {}
    for seat in seats:
        for place in seat.places:
            at.setdefault(place, {})
        if seat.at in seat.places:
            at[seat.at][seat.router] = seat
    moves: dict[str, Move] = {}
    while (step := _step(at, weights or {})) is not None:
        seat, source, target = step
        del at[source][seat.router]
        at[target][seat.router] = seat
        moves[seat.router] = Move(seat.router, seat.at, target)
    return tuple(sorted(move for move in moves.values() if move.before != move.after))


def _step(at: dict[str, dict[str, Seat]], weights: Mapping[str, int]) -> tuple[Seat, str, str] | None:
    """Return the next single move: from a fullest gateway to an emptiest that may take a router of it."""

    def filled(name: str, more: int = 0) -> float:
        return (len(at[name]) + more) / weights.get(name, 1)

    for source in sorted(at, key=lambda name: (-filled(name), name)):
        for target in sorted(at, key=lambda name: (filled(name, 1), name)):
            if filled(target, 1) >= filled(source):
                break
            fitting = [seat for seat in at[source].values() if target in seat.places]
            if fitting:
                return (
                    min(fitting, key=lambda seat: (seat.home != target, seat.home == source, seat.router)),
                    source,
                    target,
                )
    return None
