"""Where routers' gateways are: kept by the acting controller, taken over from NB by the next.

The order in NB is an order that traffic follows, so a new leader starts from it and never from its own idea; the home
gateway of a router is written beside it (docs/adr/0004-gateway-intent.md).
Hosts come from the cluster's description; what a host's agent reports narrows its physical networks down, but an agent
that reports none (it may be starting, or not have been asked) takes nothing away: unknown is not down.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ovenbird.controller.events import PLACEMENT_CHANGED, Events
from ovenbird.controller.problems import Trouble
from ovenbird.controller.records import NodeRecord
from ovenbird.controller.state import DeclaredState
from ovenbird.model.cluster import Cluster, Role
from ovenbird.model.objects import ExternalNetwork, Key, Router
from ovenbird.plan.dirty import dirty_by_placement
from ovenbird.plan.failback import Carried, Cause, Failback, Gateways, Memory, decide
from ovenbird.plan.gateways import RouterNeed, renumbered, schedule
from ovenbird.plan.inventory import InventoryView
from ovenbird.plan.nb_index import NbIndex
from ovenbird.plan.rows import HOME, HOME_REQUEST, Gateway, Placement

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


class Placing:
    """The placement in force, and the routers that no gateway may carry."""

    def __init__(self, cluster: Cluster, events: Events) -> None:
        self._cluster = cluster
        self._events = events
        self._memories: dict[str, Memory] = {}
        self.placement = Placement()
        self.troubles: dict[Key, Trouble] = {}
        self.moves: dict[str, tuple[str, Cause]] = {}
        """router -> the gateway that it was last moved to by us, and why."""

    def take_over(self, state: DeclaredState, index: NbIndex, sight: Sight) -> None:
        """Start from what NB holds."""
        self._memories.clear()
        self.moves.clear()
        self.placement = placement_in_nb(state.inventory, index)
        self.update(state, sight)

    def update(self, state: DeclaredState, sight: Sight) -> frozenset[Key]:
        """Place anew what must be; return the routers whose gateways changed."""
        before, troubles = self.placement, self.troubles
        scheduled = schedule(
            tuple(router_needs(state.inventory)),
            gateways(self._cluster, state.nodes),
            before,
            excluded=sight.gateways.excluded,
            carriers=sight.carriers,
        )
        self.placement = self._decided(state, scheduled.placement, sight)
        changed = dirty_by_placement(before, self.placement)
        self.troubles = {
            Key("Router", unplaced.router): Trouble("unplaced", unplaced.detail) for unplaced in scheduled.unplaced
        }
        if changed:
            self._events.emit(PLACEMENT_CHANGED, routers=len(changed), first=str(min(changed)))
        return changed | (troubles.keys() ^ self.troubles.keys())

    def _decided(self, state: DeclaredState, placed: Placement, sight: Sight) -> Placement:
        routers, homes, memories = dict(placed.routers), dict(placed.homes), {}
        requests = {name: state.homes[name].request for name in routers if name in state.homes}
        physnets = {need.name: need.physnet for need in router_needs(state.inventory)}
        for router in carried_routers(self._cluster, state, placed, sight.carriers):
            name = router.name
            gateways = replace(sight.gateways, unfit=sight.unfit.get(physnets[name], frozenset()))
            verdict = decide(router, self._memories.get(name), gateways, sight.now_s)
            memories[name] = verdict.memory
            homes[name] = verdict.home
            routers[name] = renumbered(routers[name], verdict.order)
            if verdict.cause is not None and verdict.order[0] != router.carrier:
                self.moves[name] = (verdict.order[0], verdict.cause)
        self._memories = memories
        return Placement(routers=routers, homes=homes, requests=requests)


def carried_routers(
    cluster: Cluster, state: DeclaredState, placement: Placement, carriers: Mapping[str, str | None]
) -> list[Carried]:
    """Return every router that has gateways, as it is and as it is wanted."""
    hosts = gateways(cluster, state.nodes)
    found = []
    for need in router_needs(state.inventory):
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
                eligible=frozenset(host.name for host in hosts if need.physnet in host.physnets),
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


def router_needs(inventory: InventoryView) -> Iterable[RouterNeed]:
    """Yield what each router with an external leg needs."""
    for name, declared in inventory.of_kind("Router").items():
        spec = declared.spec
        if isinstance(spec, Router) and spec.external is not None:
            external = inventory.spec(ExternalNetwork, spec.external.network)
            if external is not None:
                yield RouterNeed(name=name, physnet=external.physnet, count=spec.gateways.count)


def placement_in_nb(inventory: InventoryView, index: NbIndex) -> Placement:
    """Return the placement that NB holds for our routers, most wanted first, and their homes."""
    routers, homes, requests = {}, {}, {}
    for name in inventory.of_kind("Router"):
        rows = list(index.rows_of(Key("Router", name)))
        members = [(row.columns["chassis_name"], row.columns["priority"]) for row in rows if row.table == "HA_Chassis"]
        if members:
            routers[name] = tuple(sorted(members, key=lambda member: (-member[1], member[0])))
        for row in rows:
            if row.table == "HA_Chassis_Group" and row.columns["external_ids"].get(HOME):
                homes[name] = row.columns["external_ids"][HOME]
                requests[name] = _number(row.columns["external_ids"].get(HOME_REQUEST, ""))
    return Placement(routers=routers, homes=homes, requests=requests)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0
