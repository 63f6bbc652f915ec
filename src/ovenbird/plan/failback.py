"""Which gateway should carry a router now: after a failover, for a drain, a move, and when its home gateway is back.

OVN always lets the greatest live priority win. So a gateway that returns takes its routers back at once, with whatever
flows it has by then, unless the order was changed meanwhile. After a failover the carrying gateway is therefore put
first; going home is a planned move, later, to a gateway that is known to be good.

Pure: the present moment, what was seen and what is remembered come as values. What is not known (None, or a gateway
that is not known to be good) is never acted on. It must never leave a router without a gateway that could carry it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

PENDING_S = 10.0
"""How long a gateway that was put first may take to carry the router before whoever does is believed."""
YOUNG_S = 3.0
"""For so long after an order was made or changed nobody else is believed, even if the first gateway was seen to carry
the router: BFD sessions of a new group come up one after the other, and gateways claim the router in turn meanwhile."""
ADOPT_EVERY_S = 5.0
"""Least time between two failovers of a router that are followed: gateways may be fighting for it."""


class Failback(Enum):
    """What a router does when its home gateway is back."""

    PREEMPT = "preempt"
    DELAYED = "delayed"
    MANUAL = "manual"


class Cause(Enum):
    """Why a router's active gateway changed."""

    MOVE = "move"
    REBALANCE = "rebalance"
    DRAIN = "drain"
    UNFIT = "unfit"
    FAILBACK = "failback"
    """Its home gateway is good again, and the policy lets the router go home."""
    UNPAIRED = "unpaired"
    """Its gateway died, and the other one could not know that it was not itself cut off."""
    FAILOVER = "failover"
    """OVN moved it by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateways:
    """What is known of gateways, and wanted of them."""

    drained: frozenset[str] = frozenset()
    """By operators."""
    unfit: frozenset[str] = frozenset()
    """By what was measured of them; treated as drained ones are."""
    good_since_s: Mapping[str, float] = field(default_factory=dict)
    """Gateways known to be good now, and since when."""
    weights: Mapping[str, int] = field(default_factory=dict)
    """How much each should carry, compared with the others; 1 for those that are not in it."""
    seen_by: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Gateway -> hosts that see it by BFD now."""
    dead: frozenset[str] = frozenset()
    """Gateways that most of those that watch them say are dead (`ovenbird.plan.gateway_death`)."""

    lost: frozenset[str] = frozenset()
    """Gateways that were not known to be good for long: they come last, which moves nothing that they do not carry."""

    @property
    def last(self) -> frozenset[str]:
        """Those that come after all others in every list."""
        return self.excluded | self.lost

    @property
    def excluded(self) -> frozenset[str]:
        """Those that should carry nothing."""
        return self.drained | self.unfit


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """A router with an external leg, as it is."""

    name: str
    order: tuple[str, ...]
    """Its gateways in NB, most wanted first."""
    eligible: frozenset[str]
    """All that may carry it."""
    home: str
    barred: frozenset[str] = frozenset()
    """Those that could, but must not be in a group with one that is in it (`ovenbird.plan.separation`)."""
    asked: str = ""
    """Home that an operator asked for and that is still to be carried out; "" when there is nothing to do."""
    asked_cause: Cause = Cause.MOVE
    carrier: str | None = None
    """Gateway that carries it, by SB; None when not known, or none does."""
    failback: Failback = Failback.DELAYED
    delay_s: float = 60.0
    count: int = 5
    """Gateways that it wants."""
    mode: str = "active-standby"
    pinned: bool = False
    """Whether it is a gateway router: OVN never moves it, we do."""
    together: str = ""
    """Routers of the same one have one order, and move together; "": it moves alone."""
    apart: str = ""
    """Legs of the same one should be on different gateways."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What must be remembered of a router between two decisions."""

    changed_s: float
    """When its first gateway was last changed by us."""
    settled: bool = False
    """Whether the first gateway was seen to carry it since."""
    adopted_s: float = -math.inf
    """When a failover was last followed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What should be."""

    order: tuple[str, ...]
    home: str
    memory: Memory
    cause: Cause | None = None
    """Why the first gateway is another than before; None: it is not."""


def decide(router: Carried, memory: Memory | None, gateways: Gateways, now_s: float) -> Verdict:
    """Return the order that a router's gateways should have. `memory` None: nothing is known of before.

    Deciding again on the outcome, with nothing else changed, changes nothing.
    """
    memory = memory or Memory(changed_s=now_s)
    home = _home(router)
    if not router.order:
        return Verdict(order=(), home=home, memory=memory)
    leader = router.order[0]
    if router.carrier == leader:
        memory = replace(memory, settled=True)
    first, cause = _first(replace(router, home=home), memory, gateways, now_s)
    if first != leader or first == router.asked:
        # What an operator asked for is waited for anew, also of a gateway that is first already.
        adopted_s = now_s if cause is Cause.FAILOVER else memory.adopted_s
        memory = Memory(changed_s=now_s, settled=router.carrier == first, adopted_s=adopted_s)
    if first == leader:
        cause = None
    return Verdict(order=_arranged(router, first, gateways.last), home=home, memory=memory, cause=cause)


def as_groups(routers: Iterable[Carried]) -> list[list[Carried]]:
    """Return the routers by what is decided at once: those that share an order together, each other by itself."""
    groups: dict[tuple[str, str], list[Carried]] = {}
    for router in routers:
        groups.setdefault((router.together, "" if router.together else router.name), []).append(router)
    return list(groups.values())


def as_one(group: Sequence[Carried]) -> Carried:
    """Return routers that share an order as one: carried where all of them are, asked for if one of them is."""
    carriers = {router.carrier for router in group}
    asked = next((router for router in group if router.asked), group[0])
    carrier = group[0].carrier if len(carriers) == 1 else None
    return replace(group[0], carrier=carrier, asked=asked.asked, asked_cause=asked.asked_cause)


def _home(router: Carried) -> str:
    if router.asked and router.asked in router.eligible:
        return router.asked
    return router.home or next(iter(router.order), "")


def _first(router: Carried, memory: Memory, gateways: Gateways, now_s: float) -> tuple[str, Cause | None]:
    """Return who should be first, and why."""
    leader, home = router.order[0], router.home
    if router.asked == home and _is_good(router, home, gateways):
        return home, router.asked_cause
    if leader in gateways.excluded or (router.pinned and leader in gateways.dead):
        return _instead(router, gateways)
    if router.failback is Failback.PREEMPT:
        return (home, Cause.FAILBACK) if _is_good(router, home, gateways) else (leader, None)
    return _followed(router, memory, gateways, now_s)


def _is_good(router: Carried, gateway: str | None, gateways: Gateways) -> bool:
    fit = gateway in router.eligible and gateway not in gateways.excluded and gateway not in gateways.dead
    return fit and gateway in gateways.good_since_s


def _instead(router: Carried, gateways: Gateways) -> tuple[str, Cause | None]:
    """Return who replaces a first gateway that should carry nothing: nobody, if no other is known to be good."""
    leader = router.order[0]
    # Traffic that has left already need not move again.
    for other in (router.carrier, router.home, *router.order, *sorted(router.eligible)):
        if other is not None and _is_good(router, other, gateways):
            return other, _why_away(leader, gateways)
    return leader, None


def _why_away(leader: str, gateways: Gateways) -> Cause:
    if leader in gateways.dead:
        return Cause.FAILOVER
    return Cause.DRAIN if leader in gateways.drained else Cause.UNFIT


def _followed(router: Carried, memory: Memory, gateways: Gateways, now_s: float) -> tuple[str, Cause | None]:
    """Return the gateway to which OVN moved the router, so that it stays there; or its home, when it is time."""
    leader, home, carrier = router.order[0], router.home, router.carrier
    if carrier is None or (router.pinned and carrier != leader):
        return leader, None
    if carrier != leader:
        if memory.settled and gateways.seen_by.get(leader, frozenset()) - {leader, carrier}:
            return leader, None  # it lives: the two do not see each other, and carry the router both
        expected = not memory.settled and leader not in gateways.dead
        pending = now_s - memory.changed_s < (PENDING_S if expected else YOUNG_S)
        known = carrier in router.order and carrier in router.eligible and carrier not in gateways.excluded
        if known and not pending and now_s - memory.adopted_s >= ADOPT_EVERY_S:
            return carrier, Cause.FAILOVER
        return leader, None
    if router.failback is Failback.DELAYED and home != leader and _is_good(router, home, gateways):
        waited_s = now_s - max(gateways.good_since_s[home], memory.changed_s)
        if waited_s >= router.delay_s:
            return home, Cause.FAILBACK
    return leader, None


def _arranged(router: Carried, first: str, last: frozenset[str]) -> tuple[str, ...]:
    """Return the order with `first` first, those that should carry nothing last, and no more than are wanted.

    Whoever carries the router stays a member until another does; while nobody knows who does, all stay.
    """
    others = [gateway for gateway in router.order if gateway != first]
    order = (first, *sorted(others, key=lambda gateway: gateway in last))
    if router.carrier is None:
        return order
    return tuple(gateway for at, gateway in enumerate(order) if at < router.count or gateway == router.carrier)
