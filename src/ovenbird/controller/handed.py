"""Planned moves that wait for their turn: legs that leave a gateway that works for another one that works.

Each gateway and each host computes a move in its own time, and the more legs move at once, the longer all wait for
each other. So they move some tens at a time, each time under a hold (`ovenbird.controller.handover`). Bookkeeping only:
this module must never decide who carries what.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

from ovenbird.model.objects import Key
from ovenbird.plan.legs import router_of
from ovenbird.plan.rebalance import Move

AT_ONCE = 64
"""Legs of one turn, or one router's, if that has more. A turn must be over before agents let go by themselves
(`ovenbird.host.handover`); 25 take 0.6 s on two processors that seven hosts share."""


class Handed:
    """The moves that are still to be made."""

    def __init__(self) -> None:
        self._moves: dict[str, Move] = {}

    @property
    def routers(self) -> frozenset[Key]:
        """Their routers, whose rows must not be written yet."""
        return frozenset(Key("Router", router_of(leg)) for leg in self._moves)

    def add(self, move: Move) -> None:
        """Take note of a move; the latest word on a leg counts."""
        self._moves[move.router] = move

    def clear(self) -> None:
        """Forget all."""
        self._moves.clear()

    def take(self, wanted: Callable[[str], str]) -> tuple[Move, ...]:
        """Return the next few, all legs of a router together, once. `wanted`: leg -> the gateway that is first now."""
        self._moves = {leg: move for leg, move in self._moves.items() if wanted(leg) == move.after}
        taken: list[Move] = []
        for _, legs in groupby(sorted(self._moves, key=lambda leg: (router_of(leg), leg)), key=router_of):
            moves = [self._moves[leg] for leg in legs]
            if taken and len(taken) + len(moves) > AT_ONCE:
                break
            taken += moves
        for move in taken:
            del self._moves[move.router]
        return tuple(taken)
