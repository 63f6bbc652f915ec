"""Which gateways carry which router, in which order: least loaded for new routers, never a move for old ones.

OVN always lets the greatest live priority win, so a changed order is an outage. An existing order is therefore kept
as it is: gateways that are gone are dropped, new ones are appended. Balance comes from where new routers go.
Eligible is a gateway with an uplink to the physical network of the router's external leg.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ovenbird.plan.rows import Gateway, Placement

TOP_PRIORITY = 100
PRIORITY_STEP = 10
"""Room to raise a standby above its leader without touching the others. OVN breaks ties by name: none may be equal."""
MAX_PRIORITY = 32767


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterNeed:
    """A router with an external leg: the physical network that the leg is in and how many gateways it wants."""

    name: str
    physnet: str
    count: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Unplaced:
    """A router that no gateway may carry, and why each may not."""

    router: str
    physnet: str
    lacking: tuple[str, ...]
    """Gateways there are, none of which has an uplink to `physnet`."""

    @property
    def detail(self) -> str:
        """A sentence for people."""
        if not self.lacking:
            return f"Router/{self.router} has no gateway: the cluster has no host with role gateway"
        return f"Router/{self.router} has no gateway: none of {', '.join(self.lacking)} has an uplink to {self.physnet}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Where routers go, and those that have nowhere to go."""

    placement: Placement
    unplaced: tuple[Unplaced, ...] = ()


def schedule(routers: Sequence[RouterNeed], gateways: Sequence[Gateway], current: Placement) -> Schedule:
    """Place every router. The same arguments give the same schedule; with nothing changed it is `current`.

    From an empty placement, with all gateways eligible for all routers and at least two wanted:
    leaders per gateway differ by at most 1, and by at most 2 after any one gateway has failed and its routers have gone
    to their second choices.
    """
    load = _Load()
    kept: dict[str, tuple[tuple[str, int], ...]] = {}
    eligible: dict[str, list[str]] = {}
    unplaced = []
    for router in sorted(routers, key=lambda router: router.name):
        eligible[router.name] = sorted(gateway.name for gateway in gateways if router.physnet in gateway.physnets)
        if not eligible[router.name]:
            names = tuple(sorted(gateway.name for gateway in gateways))
            unplaced.append(Unplaced(router=router.name, physnet=router.physnet, lacking=names))
            continue
        there = current.routers.get(router.name, ())
        kept[router.name] = tuple(member for member in there if member[0] in eligible[router.name])[: router.count]
        load.add_all(gateway for gateway, _ in kept[router.name])
    wanted = {router.name: router.count for router in routers}
    placed = {
        name: _with_priorities(members, load.extend([gateway for gateway, _ in members], eligible[name], wanted[name]))
        for name, members in kept.items()
    }
    return Schedule(placement=Placement(routers=placed), unplaced=tuple(unplaced))


class _Load:
    """How many routers have which gateways first, second, ... and which orders begin in the same way."""

    def __init__(self) -> None:
        self._orders: Counter[tuple[str, ...]] = Counter()
        self._positions: Counter[tuple[int, str]] = Counter()

    def add_all(self, order: Iterable[str]) -> None:
        taken: tuple[str, ...] = ()
        for gateway in order:
            self._add(taken, gateway)
            taken = (*taken, gateway)

    def _add(self, taken: tuple[str, ...], gateway: str) -> None:
        self._orders[(*taken, gateway)] += 1
        self._positions[(len(taken), gateway)] += 1

    def extend(self, order: list[str], eligible: Sequence[str], count: int) -> list[str]:
        """Append gateways to an order, each the least loaded for its position, until there are `count` or no more.

        Routers that share the gateways before a position are spread first: they all move there together when
        those gateways fail.
        """
        taken = tuple(order)
        while len(taken) < count and (left := [gateway for gateway in eligible if gateway not in taken]):
            chosen = min(left, key=lambda gateway, taken=taken: self._cost(taken, gateway))  # type: ignore[misc]
            self._add(taken, chosen)
            taken = (*taken, chosen)
        return list(taken)

    def _cost(self, taken: tuple[str, ...], gateway: str) -> tuple[int, int, str]:
        return (self._orders[(*taken, gateway)], self._positions[(len(taken), gateway)], gateway)


def _with_priorities(members: Sequence[tuple[str, int]], order: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """Return the order with priorities: those that there are stay when they still say the same and leave room below."""
    priorities = [priority for _, priority in members]
    falling = all(above > below for above, below in pairwise(priorities))
    missing = len(order) - len(members)
    fits = bool(priorities) and priorities[0] <= MAX_PRIORITY and priorities[-1] - missing * PRIORITY_STEP >= 0
    if not (falling and fits):
        return tuple((gateway, TOP_PRIORITY - at * PRIORITY_STEP) for at, gateway in enumerate(order))
    lowest = priorities[-1]
    added = order[len(members) :]
    return (*members, *((gateway, lowest - at * PRIORITY_STEP) for at, gateway in enumerate(added, start=1)))
