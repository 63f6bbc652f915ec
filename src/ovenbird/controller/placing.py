"""Where routers' gateways are: kept by the acting controller, taken over from NB by the next.

The order in NB is an order that traffic follows, so a new leader starts from it and never from its own idea; the home
gateway of a router is written beside it (docs/adr/0004-gateway-intent.md).
Hosts come from the cluster's description; what a host's agent reports narrows its physical networks down, but an agent
that reports none (it may be starting, or not have been asked) takes nothing away: unknown is not down.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ovenbird.controller.apart import apart_in_nb, barred_gateways, watched_networks, with_separation
from ovenbird.controller.events import PLACEMENT_CHANGED, Events
from ovenbird.controller.handed import Handed
from ovenbird.controller.problems import Trouble
from ovenbird.controller.records import NodeRecord
from ovenbird.controller.state import DeclaredState
from ovenbird.model.cluster import Cluster, Role
from ovenbird.model.objects import ExternalNetwork, Key, Router
from ovenbird.plan.dirty import dirty_by_placement
from ovenbird.plan.failback import (
    PENDING_S,
    Carried,
    Cause,
    Failback,
    Gateways,
    Memory,
    Verdict,
    as_groups,
    as_one,
    decide,
)
from ovenbird.plan.gateways import RouterNeed, may_carry, renumbered, schedule
from ovenbird.plan.inventory import InventoryView
from ovenbird.plan.legs import SEVERAL, SHARED, is_pinned, leg_names, leg_networks, router_of
from ovenbird.plan.nb_index import NbIndex
from ovenbird.plan.rebalance import Move
from ovenbird.plan.rows import HOME, HOME_REQUEST, VACANT, Gateway, Placement
from ovenbird.plan.separation import Pair, Separated, read, written

DEFAULT_DELAY_S = 60
"""`failback_delay_s` when not given."""

HANDED_OVER = frozenset({Cause.MOVE, Cause.REBALANCE, Cause.DRAIN, Cause.FAILBACK})
"""Causes of a move away from a gateway that works; one that is unfit or dead has nothing to go on with."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What is known at one moment."""

    gateways: Gateways
    carriers: Mapping[str, str | None]
    """router -> the gateway that carries it; None when not known."""
    now_s: float
    unfit: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Physical network -> gateways that are unfit there; those of one network say nothing of another."""
    separated: Mapping[Pair, Separated] = field(default_factory=dict)
    """Pairs of gateways that must not be in one group."""


class Placing:
    """The placement in force, and the routers that no gateway may carry."""

    def __init__(self, cluster: Cluster, events: Events) -> None:
        self._cluster = cluster
        self._events = events
        self._memories: dict[str, Memory] = {}
        self._seen: Sight | None = None
        self._restless: set[str] = set()
        """Routers that may move as time goes by: not at home, or not carried where they should be."""
        self.placement = Placement()
        self.troubles: dict[Key, Trouble] = {}
        self._lists: dict[str, tuple[str, ...]] = {}
        """Leg -> the legs that share its order."""
        self._moves: dict[str, tuple[str, Cause, float]] = {}
        """router -> the gateway that was last put first, why, and when."""
        self.handed = Handed()
        """Legs that are to leave a gateway that could go on: no packet need be lost by that."""

    def take_over(self, state: DeclaredState, index: NbIndex, sight: Sight) -> None:
        """Start from what NB holds."""
        self._memories.clear()
        self._restless.clear()
        self._moves.clear()
        self.handed.clear()
        self.placement = placement_in_nb(state.inventory, index)
        self.update(state, sight)

    def cause(self, router: str, gateway: str, now_s: float) -> Cause | None:
        """Return why a router was lately given to a gateway, once; None when it was not."""
        target, cause, at_s = self._moves.get(router, ("", Cause.MOVE, -math.inf))
        if target != gateway:
            return None
        del self._moves[router]
        return cause if now_s - at_s < PENDING_S else None

    def take_handed(self) -> tuple[Move, ...]:
        """Return, once, the planned moves whose turn it is."""
        return self.handed.take(self.placement.first)

    def update(self, state: DeclaredState, sight: Sight) -> frozenset[Key]:
        """Place anew what must be; return the routers whose gateways changed."""
        before, troubles = self.placement, self.troubles
        hosts, needs = gateways(self._cluster, state.nodes), tuple(router_needs(state.inventory))
        barred = barred_gateways(needs, hosts, before, sight.separated, sight.carriers)
        scheduled = schedule(needs, hosts, before, excluded=sight.gateways.last, carriers=sight.carriers, barred=barred)
        there = scheduled.placement.routers.keys()
        self._restless &= there
        self._memories = {name: memory for name, memory in self._memories.items() if name in there}
        self._note_unpaired(before, scheduled.placement, barred, sight)
        placed = with_separation(scheduled.placement, hosts, barred, sight.separated)
        self.placement = self._decided(state, placed, sight, there)
        changed = dirty_by_placement(before, self.placement) | watched_networks(state.inventory, before, self.placement)
        self.troubles = {
            Key("Router", router_of(unplaced.router)): Trouble("unplaced", unplaced.detail)
            for unplaced in scheduled.unplaced
        }
        if changed:
            self._events.emit(PLACEMENT_CHANGED, routers=len(changed), first=str(min(changed)))
        return changed | (troubles.keys() ^ self.troubles.keys())

    def look_again(self, state: DeclaredState, sight: Sight) -> frozenset[Key]:
        """Decide again where something moved, or waits; nothing that is declared has changed since `update`."""
        seen = self._seen
        if (
            seen is None
            or seen.gateways.last != sight.gateways.last
            or seen.unfit != sight.unfit
            or written(sight.separated) != self.placement.apart
        ):
            return self.update(state, sight)
        same_health = seen.gateways.good_since_s.keys() == sight.gateways.good_since_s.keys()
        if same_health and seen.gateways.dead == sight.gateways.dead:
            names = self._restless | {
                name for name, carrier in sight.carriers.items() if seen.carriers.get(name) != carrier
            }
        else:
            names = set(self.placement.routers)
        before = self.placement
        self.placement = self._decided(state, before, sight, names)
        names = self._with_sharers(names)
        return frozenset(Key("Router", router_of(name)) for name in names if _differs(before, self.placement, name))

    def _decided(self, state: DeclaredState, placed: Placement, sight: Sight, names: Collection[str]) -> Placement:
        self._seen = sight
        if not names:
            return placed
        needs = {need.name: need for need in router_needs(state.inventory)} if sight.unfit else {}
        routers, homes, requests = dict(placed.routers), dict(placed.homes), dict(placed.requests)
        self._lists = shared_lists(state.inventory)
        names = self._with_sharers(names)
        for group in as_groups(carried_routers(self._cluster, state, placed, sight.carriers, names)):
            verdict = self._verdict(group, needs, sight)
            for router in group:
                name = router.name
                self._memories[name] = verdict.memory
                homes[name] = verdict.home
                # Whom it was asked to go to may not be good just now: what was asked stays open until it is.
                if not router.asked or verdict.home != router.asked or verdict.order[0] == router.asked:
                    requests[name] = state.homes[name].request if name in state.homes else 0
                if verdict.order != router.order:
                    routers[name] = renumbered(routers[name], verdict.order)
                if verdict.cause is not None:
                    self._moves[name] = (verdict.order[0], verdict.cause, sight.now_s)
                    if verdict.cause in HANDED_OVER and router.carrier not in (None, verdict.order[0]):
                        self.handed.add(Move(name, router.carrier or "", verdict.order[0]))
                settled = verdict.order[0] == verdict.home == router.carrier
                (self._restless.discard if settled else self._restless.add)(name)
        return replace(placed, routers=routers, homes=homes, requests=requests)

    def _note_unpaired(
        self, before: Placement, after: Placement, barred: Mapping[str, frozenset[str]], sight: Sight
    ) -> None:
        """Remember the moves that follow from a first gateway's having been taken out."""
        for router, gone in barred.items():
            first = after.first(router)
            was = before.first(router)
            if was in gone and first:
                self._moves[router] = (first, Cause.UNPAIRED, sight.now_s)
                self._memories[router] = Memory(changed_s=sight.now_s)

    def _verdict(self, group: Sequence[Carried], needs: Mapping[str, RouterNeed], sight: Sight) -> Verdict:
        """Decide once for legs that share an order."""
        router = as_one(group)
        # Only what was found on its own physical networks counts for a router.
        physnets = needs[router.name].physnets if router.name in needs else ()
        unfit = frozenset[str]().union(*(sight.unfit.get(physnet, frozenset()) for physnet in physnets))
        gateways = replace(sight.gateways, unfit=unfit)
        memories = (self._memories.get(each.name) for each in group)
        return decide(router, next(filter(None, memories), None), gateways, sight.now_s)

    def _with_sharers(self, legs: Collection[str]) -> set[str]:
        """Return legs with all that share an order with one of them."""
        return {each for leg in legs for each in self._lists.get(leg, (leg,))}


def _differs(one: Placement, other: Placement, router: str) -> bool:
    return (one.routers.get(router), one.home(router), one.requests.get(router)) != (
        other.routers.get(router),
        other.home(router),
        other.requests.get(router),
    )


def carried_routers(
    cluster: Cluster,
    state: DeclaredState,
    placement: Placement,
    carriers: Mapping[str, str | None],
    names: Collection[str],
) -> list[Carried]:
    """Return those of the named routers that have gateways, as they are and as they are wanted."""
    hosts = gateways(cluster, state.nodes)
    found = []
    needs = tuple(router_needs(state.inventory, names))
    barred = barred_gateways(needs, hosts, placement, read(placement.apart), carriers)
    for need in needs:
        order = tuple(name for name, _ in placement.routers.get(need.name, ()))
        spec = state.inventory.spec(Router, router_of(need.name))
        if not order or spec is None:
            continue
        asked = state.homes.get(need.name)
        if asked is not None and asked.request == placement.requests.get(need.name, 0):
            asked = None
        found.append(
            Carried(
                name=need.name,
                order=order,
                eligible=frozenset(host.name for host in hosts if may_carry(host, need))
                - barred.get(need.name, frozenset()),
                barred=barred.get(need.name, frozenset()),
                home=placement.home(need.name),
                asked=asked.gateway if asked else "",
                asked_cause=asked.cause if asked else Cause.MOVE,
                carrier=carriers.get(need.name),
                failback=Failback(spec.gateways.failback),
                delay_s=float(spec.gateways.failback_delay_s or DEFAULT_DELAY_S),
                count=need.count,
                mode=spec.gateways.mode,
                pinned=is_pinned(spec),
                together=need.together,
                apart=need.apart,
            )
        )
    return found


def gateways(cluster: Cluster, nodes: Mapping[str, NodeRecord]) -> tuple[Gateway, ...]:
    """Return the hosts that may carry routers."""
    found = []
    for host in cluster.hosts:
        if Role.GATEWAY in host.roles:
            node = nodes.get(host.name)
            physnets = node.physnets if node is not None and node.physnets else host.physnets
            found.append(Gateway(name=host.name, physnets=physnets, zone=host.zone, weight=host.weight))
    return tuple(found)


def router_needs(inventory: InventoryView, names: Collection[str] | None = None) -> Iterable[RouterNeed]:
    """Yield what each of the named legs (None: all) needs."""
    declared = inventory.of_kind("Router")
    for name in declared if names is None else {router_of(leg) for leg in names}:
        spec = declared[name].spec if name in declared else None
        if not isinstance(spec, Router) or spec.external is None:
            continue
        for leg, network in zip(leg_names(name, spec), leg_networks(spec), strict=True):
            external = inventory.spec(ExternalNetwork, network)
            if external is not None and (names is None or leg in names):
                yield RouterNeed(
                    name=leg,
                    physnet=external.physnet,
                    count=spec.gateways.count,
                    zones=frozenset(spec.gateways.zones),
                    inward=inventory.physnets_of(name),
                    together=external.physnet if spec.gateways.mode == SHARED else "",
                    pinned=is_pinned(spec),
                    apart=name if spec.gateways.mode == SEVERAL else "",
                )


def shared_lists(inventory: InventoryView) -> dict[str, tuple[str, ...]]:
    """Return, for each leg that shares an order, all that do, itself included."""
    found: dict[str, list[str]] = {}
    for need in router_needs(inventory):
        if need.together:
            found.setdefault(need.together, []).append(need.name)
    return {leg: tuple(sorted(legs)) for legs in found.values() for leg in legs}


def placement_in_nb(inventory: InventoryView, index: NbIndex) -> Placement:
    """Return the placement that NB holds for our routers' legs, most wanted first, and their homes."""
    routers, homes, requests, vacant = {}, {}, {}, set()
    for name, declared in inventory.of_kind("Router").items():
        legs = leg_names(name, declared.spec) if isinstance(declared.spec, Router) else ()
        for row in list(index.rows_of(Key("Router", name))):
            leg = row.columns["name"] if row.table == "HA_Chassis_Group" else ""
            if leg not in legs:
                continue
            rows = (index.row("HA_Chassis", uuid) for uuid in row.columns.get("ha_chassis", ()))
            members = [(each.columns["chassis_name"], each.columns["priority"]) for each in rows if each]
            real = [member for member in members if member[0] != VACANT]
            if real:
                routers[leg] = tuple(sorted(real, key=lambda member: (-member[1], member[0])))
            if len(real) < len(members):
                vacant.add(leg)
            if row.columns["external_ids"].get(HOME):
                homes[leg] = row.columns["external_ids"][HOME]
                requests[leg] = _number(row.columns["external_ids"].get(HOME_REQUEST, ""))
    apart = apart_in_nb(inventory, index)
    return Placement(routers=routers, homes=homes, requests=requests, vacant=frozenset(vacant), apart=apart)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0
