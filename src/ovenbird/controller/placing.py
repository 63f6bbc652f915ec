"""Where routers' gateways are: kept by the acting controller, taken over from NB by the next.

The order in NB is an order that traffic follows, so a new leader starts from it and never from its own idea; the home
gateway of a router is written beside it (docs/adr/0004-gateway-intent.md).
Hosts come from the cluster's description; what a host's agent reports narrows its physical networks down, but an agent
that reports none (it may be starting, or not have been asked) takes nothing away: unknown is not down.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from ovenbird.controller.apart import apart_in_nb, barred_gateways, watched_networks, with_separation
from ovenbird.controller.events import PLACEMENT_CHANGED, Events
from ovenbird.controller.problems import Trouble
from ovenbird.controller.records import NodeRecord
from ovenbird.controller.state import DeclaredState
from ovenbird.model.cluster import Cluster, Role
from ovenbird.model.objects import ExternalNetwork, Key, Router
from ovenbird.plan.dirty import dirty_by_placement
from ovenbird.plan.failback import PENDING_S, Carried, Cause, Failback, Gateways, Memory, decide
from ovenbird.plan.gateways import RouterNeed, renumbered, schedule
from ovenbird.plan.inventory import InventoryView
from ovenbird.plan.nb_index import NbIndex
from ovenbird.plan.rows import HOME, HOME_REQUEST, VACANT, Gateway, Placement
from ovenbird.plan.separation import Pair, Separated, read, written

DEFAULT_DELAY_S = 60
"""`failback_delay_s` when not given."""
PLACED_KINDS = frozenset({"Router", "ExternalNetwork"})
"""Kinds whose change may change the placement."""


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
        self._moves: dict[str, tuple[str, Cause, float]] = {}
        """router -> the gateway that was last put first, why, and when."""

    def take_over(self, state: DeclaredState, index: NbIndex, sight: Sight) -> None:
        """Start from what NB holds."""
        self._memories.clear()
        self._restless.clear()
        self._moves.clear()
        self.placement = placement_in_nb(state.inventory, index)
        self.update(state, sight)

    def cause(self, router: str, gateway: str, now_s: float) -> Cause | None:
        """Return why a router was lately given to a gateway, once; None when it was not."""
        target, cause, at_s = self._moves.get(router, ("", Cause.MOVE, -math.inf))
        if target != gateway:
            return None
        del self._moves[router]
        return cause if now_s - at_s < PENDING_S else None

    def update(self, state: DeclaredState, sight: Sight) -> frozenset[Key]:
        """Place anew what must be; return the routers whose gateways changed."""
        before, troubles = self.placement, self.troubles
        hosts, needs = gateways(self._cluster, state.nodes), tuple(router_needs(state.inventory))
        barred = barred_gateways(needs, hosts, before, sight.separated, sight.carriers)
        scheduled = schedule(
            needs, hosts, before, excluded=sight.gateways.excluded, carriers=sight.carriers, barred=barred
        )
        there = scheduled.placement.routers.keys()
        self._restless &= there
        self._memories = {name: memory for name, memory in self._memories.items() if name in there}
        self._note_unpaired(before, scheduled.placement, barred, sight)
        placed = with_separation(scheduled.placement, hosts, barred, sight.separated)
        self.placement = self._decided(state, placed, sight, there)
        changed = dirty_by_placement(before, self.placement) | watched_networks(state.inventory, before, self.placement)
        self.troubles = {
            Key("Router", unplaced.router): Trouble("unplaced", unplaced.detail) for unplaced in scheduled.unplaced
        }
        if changed:
            self._events.emit(PLACEMENT_CHANGED, routers=len(changed), first=str(min(changed)))
        return changed | (troubles.keys() ^ self.troubles.keys())

    def look_again(self, state: DeclaredState, sight: Sight) -> frozenset[Key]:
        """Decide again where something moved, or waits; nothing that is declared has changed since `update`."""
        seen = self._seen
        if (
            seen is None
            or seen.gateways.excluded != sight.gateways.excluded
            or seen.unfit != sight.unfit
            or written(sight.separated) != self.placement.apart
        ):
            return self.update(state, sight)
        if seen.gateways.good_since_s.keys() == sight.gateways.good_since_s.keys():
            names = self._restless | {
                name for name, carrier in sight.carriers.items() if seen.carriers.get(name) != carrier
            }
        else:
            names = set(self.placement.routers)
        before = self.placement
        self.placement = self._decided(state, before, sight, names)
        return frozenset(Key("Router", name) for name in names if _differs(before, self.placement, name))

    def _decided(self, state: DeclaredState, placed: Placement, sight: Sight, names: Collection[str]) -> Placement:
        self._seen = sight
        if not names:
            return placed
        physnets = {need.name: need.physnet for need in router_needs(state.inventory)} if sight.unfit else {}
        routers, homes, requests = dict(placed.routers), dict(placed.homes), dict(placed.requests)
        for router in carried_routers(self._cluster, state, placed, sight.carriers, names):
            name = router.name
            # Only what was found on its own physical network counts for a router.
            gateways = replace(sight.gateways, unfit=sight.unfit.get(physnets.get(name, ""), frozenset()))
            verdict = decide(router, self._memories.get(name), gateways, sight.now_s)
            self._memories[name] = verdict.memory
            homes[name] = verdict.home
            requests[name] = state.homes[name].request if name in state.homes else 0
            if verdict.order != router.order:
                routers[name] = renumbered(routers[name], verdict.order)
            if verdict.cause is not None:
                self._moves[name] = (verdict.order[0], verdict.cause, sight.now_s)
            settled = verdict.order[0] == verdict.home == router.carrier
            (self._restless.discard if settled else self._restless.add)(name)
        return replace(placed, routers=routers, homes=homes, requests=requests)

    def _note_unpaired(
        self, before: Placement, after: Placement, barred: Mapping[str, frozenset[str]], sight: Sight
    ) -> None:
        """Remember the moves that follow from a first gateway's having been taken out."""
        for router, gone in barred.items():
            first = next((name for name, _ in after.routers.get(router, ())), "")
            was = next((name for name, _ in before.routers.get(router, ())), "")
            if was in gone and first:
                self._moves[router] = (first, Cause.UNPAIRED, sight.now_s)
                self._memories[router] = Memory(changed_s=sight.now_s)


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
        spec = state.inventory.spec(Router, need.name)
        if not order or spec is None:
            continue
        asked = state.homes.get(need.name)
        if asked is not None and asked.request == placement.requests.get(need.name, 0):
            asked = None
        found.append(
            Carried(
                name=need.name,
                order=order,
                eligible=frozenset(host.name for host in hosts if need.physnet in host.physnets)
                - barred.get(need.name, frozenset()),
                home=placement.home(need.name),
                asked=asked.gateway if asked else "",
                asked_cause=asked.cause if asked else Cause.MOVE,
                carrier=carriers.get(need.name),
                failback=Failback(spec.gateways.failback),
                delay_s=float(spec.gateways.failback_delay_s or DEFAULT_DELAY_S),
                count=need.count,
            )
        )
    return found


def gateways(cluster: Cluster, nodes: Mapping[str, NodeRecord]) -> tuple[Gateway, ...]:
    """Return the hosts that may carry routers."""
    found = []
    for host in cluster.hosts:
        if Role.GATEWAY in host.roles:
            node = nodes.get(host.name)
            physnets = node.physnets if node is not None and node.physnets else frozenset(host.uplinks)
            found.append(Gateway(name=host.name, physnets=physnets))
    return tuple(found)


def router_needs(inventory: InventoryView, names: Collection[str] | None = None) -> Iterable[RouterNeed]:
    """Yield what each of the named routers (None: all) with an external leg needs."""
    declared = inventory.of_kind("Router")
    for name in declared if names is None else names:
        spec = declared[name].spec if name in declared else None
        if isinstance(spec, Router) and spec.external is not None:
            external = inventory.spec(ExternalNetwork, spec.external.network)
            if external is not None:
                yield RouterNeed(name=name, physnet=external.physnet, count=spec.gateways.count)


def placement_in_nb(inventory: InventoryView, index: NbIndex) -> Placement:
    """Return the placement that NB holds for our routers, most wanted first, and their homes."""
    routers, homes, requests, vacant = {}, {}, {}, set()
    for name in inventory.of_kind("Router"):
        rows = list(index.rows_of(Key("Router", name)))
        members = [(row.columns["chassis_name"], row.columns["priority"]) for row in rows if row.table == "HA_Chassis"]
        real = [member for member in members if member[0] != VACANT]
        if real:
            routers[name] = tuple(sorted(real, key=lambda member: (-member[1], member[0])))
        if len(real) < len(members):
            vacant.add(name)
        for row in rows:
            if row.table == "HA_Chassis_Group" and row.columns["external_ids"].get(HOME):
                homes[name] = row.columns["external_ids"][HOME]
                requests[name] = _number(row.columns["external_ids"].get(HOME_REQUEST, ""))
    apart = apart_in_nb(inventory, index)
    return Placement(routers=routers, homes=homes, requests=requests, vacant=frozenset(vacant), apart=apart)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0
