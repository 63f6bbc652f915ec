"""What an operator's word about gateways would move, and what forbids it. The same decision as the controller's.

Each answer is a prediction from what is known now: the controller decides again when it acts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ovenbird.model.errors import Refused, UserError
from ovenbird.plan.failback import Carried, Failback, Gateways, Memory, decide
from ovenbird.plan.legs import router_of
from ovenbird.plan.rebalance import Move, Seat, rebalance

_LONG_AGO = Memory(changed_s=-math.inf, settled=True)
SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Later:
    """A router that goes home by itself."""

    move: Move
    after_s: float
    """Seconds for which its home must have been good."""


def drain_moves(
    node: str, names: Sequence[str], routers: Iterable[Carried], gateways: Gateways, *, force: bool
) -> tuple[Move, ...]:
    """Return the moves of draining a gateway. Refused `last_gateway`, unless forced: something has nowhere to go."""
    _known(node, names)
    left = [name for name in names if name not in gateways.excluded and name != node]
    drained = replace(gateways, drained=gateways.drained | {node})
    affected = [router for router in routers if node in (router.order[0], router.carrier)]
    moves, stuck = [], []
    for router in affected:
        first = decide(router, _LONG_AGO, drained, 0.0).order[0]
        if first == node:
            stuck.append(router.name)
        else:
            moves.append(Move(router.name, node, first))
    if (stuck or not left) and not force:
        raise Refused(
            f"{node} cannot be drained: {_why(stuck, left)}",
            code="last_gateway",
            subject=node,
            evidence=_list(stuck) or f"drained or unfit: {_list(sorted(gateways.excluded)) or 'none'}",
            hint="see `ovenbird gateway list` for gateways that are not good; --force drains it as far as that goes",
        )
    return tuple(sorted(moves))


def _why(stuck: Sequence[str], left: Sequence[str]) -> str:
    if not left:
        return "there is no other gateway that is not drained"
    return f"{len(stuck)} router(s) have no other gateway that is known to be good"


def undrain_moves(node: str, names: Sequence[str], routers: Iterable[Carried], gateways: Gateways) -> tuple[Later, ...]:
    """Return the routers that will go home to a gateway by themselves once it is not drained any more."""
    _known(node, names)
    if node not in gateways.drained:
        return ()
    found = []
    for router in routers:
        if router.home == node and router.order[0] != node and router.failback is not Failback.MANUAL:
            after_s = router.delay_s if router.failback is Failback.DELAYED else 0.0
            found.append(Later(move=Move(router.name, router.carrier or router.order[0], node), after_s=after_s))
    return tuple(sorted(found, key=lambda later: later.move))


def single_move(
    router: str, to: str, names: Sequence[str], routers: Iterable[Carried], gateways: Gateways, *, force: bool
) -> tuple[Move, ...]:
    """Return the move of one router, none when it is there. Refused when the gateway must not carry it."""
    _known(to, names)
    known = list(routers)
    found = next((each for each in known if each.name == router), None)
    if found is None and (legs := [each.name for each in known if router_of(each.name) == router]):
        raise UserError(
            f"Router/{router} has several legs", code="not_found", hint=f"move one of them: {', '.join(legs)}"
        )
    if found is None:
        raise UserError(
            f"Router/{router} has no gateway to move from", code="not_found", hint="`ovenbird gateway list`"
        )
    if to in found.barred:
        raise Refused(
            f"{to} was taken out of the group of Router/{router}: it and {found.order[0]} don't see each other",
            code="apart",
            subject=to,
            hint="`ovenbird status` says why; it comes back by itself",
        )
    if to not in found.eligible:
        raise Refused(
            f"{to} has no uplink to the external network of Router/{router}",
            code="not_eligible",
            subject=to,
            evidence=f"these have: {_list(sorted(found.eligible))}",
        )
    if to in gateways.excluded:
        why = "is drained" if to in gateways.drained else "is unfit"
        raise Refused(f"{to} {why}", code="excluded", subject=to, hint=f"`ovenbird gateway undrain {to}` first")
    if to not in gateways.good_since_s and not force:
        raise Refused(
            f"{to} is not known to be good",
            code="not_good",
            subject=to,
            hint="`ovenbird gateway list` says why; --force makes it the router's home all the same, for when it is",
        )
    found_moves = (Move(each.name, each.carrier or each.order[0], to) for each in _moving_along(found, known))
    at = found.carrier or found.order[0]
    return () if at == to and found.order[0] == to else tuple(sorted(found_moves))


def _moving_along(router: Carried, routers: Sequence[Carried]) -> list[Carried]:
    """Return all that move when a router does."""
    return [each for each in routers if each is router or (router.together and each.together == router.together)]


def rebalancing(routers: Iterable[Carried], gateways: Gateways) -> tuple[Move, ...]:
    """Return the fewest moves that balance the routers; see `ovenbird.plan.rebalance`."""
    known = list(routers)
    # Those that share an order stay together: a move of one would be a move of all.
    return rebalance([_seat(router, gateways, known) for router in known if not router.together], gateways.weights)


def _seat(router: Carried, gateways: Gateways, routers: Sequence[Carried]) -> Seat:
    """Return where a router counts: at home if it goes there by itself, else where it is."""
    places = router.eligible & (frozenset(gateways.good_since_s) - gateways.excluded)
    places -= {each.home for each in routers if router.apart and each.apart == router.apart and each is not router}
    home = router.asked if router.asked in router.eligible else router.home
    goes_home = home == router.asked or router.failback is not Failback.MANUAL
    stays = not goes_home or home not in router.eligible or home in gateways.excluded
    return Seat(router=router.name, at=router.order[0] if stays else home, home=home, places=places)


def _known(node: str, names: Sequence[str]) -> None:
    if node not in names:
        there = ", ".join(names) or "none"
        raise UserError(f"{node} is not a gateway", code="not_found", subject=node, hint=f"there are: {there}")


def _list(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
