"""Which gateways carry which router, in which order: least loaded for new routers, never a move for old ones.

OVN always lets the greatest live priority win, so a changed order is a move. An existing order is therefore kept
as it is: gateways that are gone are dropped, new ones are appended. Who changes an order is
`ovenbird.plan.failback`. Balance comes from where new routers go.
Eligible is a gateway with an uplink to the physical network of the router's external leg, in one of its zones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from ovenbird.plan.rows import Gateway, Placement

TOP_PRIORITY = 100
PRIORITY_STEP = 10
"""Room to raise a standby above its leader without touching the others. OVN breaks ties by name: none may be equal."""
MAX_PRIORITY = 32767


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterNeed:
    """A leg of a router: the physical network that it is in and how many gateways it wants."""

    name: str
    physnet: str
    count: int = 5
    together: str = ""
    """Legs of the same one have the same gateways in the same order; "": it has an order of its own."""
    zones: frozenset[str] = frozenset()
    """Availability zones that its gateways must be in; empty: any."""
    inward: frozenset[str] = frozenset()
    """Physical networks that carry networks behind it: what comes back to those leaves the gateway there."""
    pinned: bool = False
    """Whether OVN leaves it where it is, whatever BFD says: only the controller moves it."""
    apart: str = ""
    """Legs of the same one are on different gateways as far as there are enough."""

    @property
    def physnets(self) -> frozenset[str]:
        """Physical networks that its gateways must have an uplink to."""
        return self.inward | {self.physnet}


@dataclass(frozen=True, slots=True, kw_only=True)
class Unplaced:
    """A router that no gateway may carry, and why each may not."""

    router: str
    physnet: str
    lacking: tuple[str, ...]
    """Gateways there are, none of which has an uplink to `physnet` and `inward` in the zones."""
    zones: tuple[str, ...] = ()
    """Zones that the router is restricted to."""
    inward: tuple[str, ...] = ()
    """Physical networks that carry networks behind it."""

    @property
    def detail(self) -> str:
        """A sentence for people."""
        if not self.lacking:
            return f"Router/{self.router} has no gateway: the cluster has no host with role gateway"
        where = f" in zone {' or '.join(self.zones)}" if self.zones else ""
        lacking = ", ".join(self.lacking)
        uplinks = " and ".join(dict.fromkeys((self.physnet, *self.inward)))
        return f"Router/{self.router} has no gateway: none of {lacking} has an uplink to {uplinks}{where}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Where routers go, and those that have nowhere to go."""

    placement: Placement
    unplaced: tuple[Unplaced, ...] = ()


def may_carry(gateway: Gateway, router: RouterNeed) -> bool:
    """Whether a gateway is eligible for a leg: by physical networks and by zone."""
    return router.physnets <= gateway.physnets and (not router.zones or gateway.zone in router.zones)


def schedule(
    routers: Sequence[RouterNeed],
    gateways: Sequence[Gateway],
    current: Placement,
    *,
    excluded: frozenset[str] = frozenset(),
    carriers: Mapping[str, str | None] | None = None,
    barred: Mapping[str, frozenset[str]] | None = None,
) -> Schedule:
    """Place every router. The same arguments give the same schedule; with nothing changed it is `current`.

    `excluded` gateways get a router only when there are no others, or behind all others. A member too many stays while
    `carriers` (router -> gateway, None when not known) says that it carries the router, or does not know.
    `barred` (router -> gateways) must not be in a router's group at all, whoever carries it.

    From an empty placement, with all gateways eligible for all routers and at least two wanted:
    leaders per gateway differ by at most 1, and by at most 2 after any one gateway has failed and its routers have gone
    to their second choices. That is for gateways of equal weight and without zones; otherwise leaders are in proportion
    to the weights, and a router's next gateway is in a zone that it has none in yet, as long as there is one.
    """
    load = _Load(gateways)
    kept: dict[str, tuple[tuple[str, int], ...]] = {}
    eligible: dict[str, list[str]] = {}
    unplaced = []
    current = _with_one_order(routers, current)
    for router in sorted(routers, key=lambda router: router.name):
        barred_here = (barred or {}).get(router.name, frozenset())
        eligible[router.name] = sorted(
            gateway.name for gateway in gateways if may_carry(gateway, router) and gateway.name not in barred_here
        )
        if not eligible[router.name]:
            names = tuple(sorted(gateway.name for gateway in gateways))
            unplaced.append(
                Unplaced(
                    router=router.name,
                    physnet=router.physnet,
                    lacking=names,
                    zones=tuple(sorted(router.zones)),
                    inward=tuple(sorted(router.inward)),
                )
            )
            continue
        there = current.routers.get(router.name, ())
        members = [member for member in there if member[0] in eligible[router.name]]
        held = _held(router.name, members, carriers)
        kept[router.name] = tuple(each for at, each in enumerate(members) if at < router.count or each[0] in held)
        load.add_all(_home_first([gateway for gateway, _ in kept[router.name]], current.homes.get(router.name)))
    needs = {router.name: router for router in routers if router.name in kept}
    placement = _placed(needs, kept, eligible, current, excluded, load)
    return Schedule(placement=placement, unplaced=tuple(unplaced))


def _placed(
    needs: Mapping[str, RouterNeed],
    kept: Mapping[str, tuple[tuple[str, int], ...]],
    eligible: Mapping[str, Sequence[str]],
    current: Placement,
    excluded: frozenset[str],
    load: _Load,
) -> Placement:
    """Extend what is kept of each order to what is needed.

    Legs that have gateways come first: a new one joins those that it shares an order with, and keeps off its own.
    """
    placed: dict[str, tuple[tuple[str, int], ...]] = {}
    homes: dict[str, str] = {}
    lists: dict[str, str] = {}
    for name in sorted(kept, key=lambda name: (not kept[name], name)):
        need, there = needs[name], kept[name]
        if need.together and (first := lists.setdefault(need.together, name)) != name:
            placed[name], homes[name] = placed[first], homes[first]
            load.add_all(() if there else [gateway for gateway, _ in placed[name]])
            continue
        order = [gateway for gateway, _ in there]
        useless = len(excluded.intersection(order))
        taken = frozenset(home for leg, home in homes.items() if need.apart and needs[leg].apart == need.apart)
        fit = [gateway for gateway in eligible[name] if gateway not in excluded]
        order = load.extend(order, fit, need.count + useless, taken)
        placed[name] = _with_priorities(there, load.extend(order, eligible[name], need.count, taken))
        homes[name] = _home(name, placed[name], current, taken, fit)
    return replace(current, routers=placed, homes=homes)


def _home(
    name: str, order: Sequence[tuple[str, int]], current: Placement, taken: frozenset[str], fit: Sequence[str]
) -> str:
    """Return a leg's home: the one that it has, but that of none of its siblings while another gateway is fit."""
    home = current.homes.get(name) or order[0][0]
    own = (gateway for gateway, _ in order if gateway in fit and gateway not in taken)
    return next(own, home) if home in taken else home


def _with_one_order(routers: Sequence[RouterNeed], current: Placement) -> Placement:
    """Return a placement in which legs that share an order have the one that most of them have, those that have any."""
    placed, homes = dict(current.routers), dict(current.homes)
    lists: dict[str, list[str]] = {}
    for router in sorted(routers, key=lambda router: router.name):
        if router.together and router.name in placed:
            lists.setdefault(router.together, []).append(router.name)
    for names in lists.values():
        votes = Counter(placed[name] for name in names)
        leader = max(names, key=lambda name: votes[placed[name]])
        for name in names:
            placed[name] = placed[leader]
            if home := current.homes.get(leader):
                homes[name] = home
    return replace(current, routers=placed, homes=homes)


def renumbered(members: Sequence[tuple[str, int]], order: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """Return an order with priorities: the members' if one of both is the beginning of the other, else new ones."""
    names = [gateway for gateway, _ in members]
    shared = min(len(names), len(order))
    return _with_priorities(members[:shared] if names[:shared] == list(order[:shared]) else (), order)


def _held(router: str, members: Sequence[tuple[str, int]], carriers: Mapping[str, str | None] | None) -> frozenset[str]:
    """Return the members that must not be dropped now."""
    if carriers is None:
        return frozenset()
    carrier = carriers.get(router)
    return frozenset(gateway for gateway, _ in members if carrier in (None, gateway))


def _home_first(order: Sequence[str], home: str | None) -> list[str]:
    """Return where a router is when all is good: one that had to move away for a while still counts at home."""
    return [*(gateway for gateway in order if gateway == home), *(gateway for gateway in order if gateway != home)]


class _Load:
    """How many routers have which gateways first, second, ... and which orders begin in the same way."""

    def __init__(self, gateways: Sequence[Gateway]) -> None:
        self._zones = {gateway.name: gateway.zone for gateway in gateways if gateway.zone}
        self._weights = {gateway.name: gateway.weight for gateway in gateways}
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

    def extend(
        self, order: list[str], eligible: Sequence[str], count: int, last: frozenset[str] = frozenset()
    ) -> list[str]:
        """Append gateways to an order, each the least loaded for its position, until there are `count` or no more.

        Routers that share the gateways before a position are spread first: they all move there together when
        those gateways fail. Gateways of `last` come after all others.
        """
        taken = tuple(order)
        while len(taken) < count and (left := [gateway for gateway in eligible if gateway not in taken]):
            chosen = min(left, key=lambda gateway, taken=taken: (gateway in last, self._cost(taken, gateway)))  # type: ignore[misc]
            self._add(taken, chosen)
            taken = (*taken, chosen)
        return list(taken)

    def _cost(self, taken: tuple[str, ...], gateway: str) -> tuple[int, float, float, str]:
        zone = self._zones.get(gateway)
        shared = sum(self._zones.get(other) == zone for other in taken) if zone else 0
        weight = self._weights.get(gateway, 1)
        own, all_ = self._orders[(*taken, gateway)], self._positions[(len(taken), gateway)]
        return (shared, (own + 1) / weight, (all_ + 1) / weight, gateway)


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
