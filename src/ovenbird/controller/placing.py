"""Where routers' gateways are: kept by the acting controller, taken over from NB by the next.

The order in NB is an order that traffic follows, so a new leader starts from it and never from its own idea.
Hosts come from the cluster's description; what a host's agent reports narrows its physical networks down, but an agent
that reports none (it may be starting, or not have been asked) takes nothing away: unknown is not down.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ovenbird.controller.events import PLACEMENT_CHANGED, Events
from ovenbird.controller.problems import Trouble
from ovenbird.controller.records import NodeRecord
from ovenbird.model.cluster import Cluster, Role
from ovenbird.model.objects import ExternalNetwork, Key, Router
from ovenbird.plan.dirty import dirty_by_placement
from ovenbird.plan.fitness import demoted
from ovenbird.plan.gateways import PRIORITY_STEP, TOP_PRIORITY, RouterNeed, schedule
from ovenbird.plan.inventory import InventoryView
from ovenbird.plan.nb_index import NbIndex
from ovenbird.plan.rows import Gateway, Placement

PLACED_KINDS = frozenset({"Router", "ExternalNetwork"})
"""Kinds whose change may change the placement."""


class Placing:
    """The placement in force, and the routers that no gateway may carry."""

    def __init__(self, cluster: Cluster, events: Events) -> None:
        self._cluster = cluster
        self._events = events
        self.placement = Placement()
        """In force: the order of the schedule, with unfit gateways last."""
        self._scheduled = Placement()
        self.troubles: dict[Key, Trouble] = {}

    def take_over(self, inventory: InventoryView, index: NbIndex, nodes: Mapping[str, NodeRecord]) -> None:
        """Start from what NB holds."""
        self.placement = self._scheduled = placement_in_nb(inventory, index)
        self.update(inventory, nodes, {})

    def update(
        self, inventory: InventoryView, nodes: Mapping[str, NodeRecord], unfit: Mapping[str, frozenset[str]]
    ) -> frozenset[Key]:
        """Place anew what must be; return the routers whose gateways changed. `unfit`: physical network -> gateways."""
        hosts = gateways(self._cluster, nodes)
        needs = tuple(router_needs(inventory))
        scheduled = schedule(needs, hosts, self._scheduled)
        self._scheduled = scheduled.placement
        placement = with_unfit_last(scheduled.placement, needs, unfit)
        changed = dirty_by_placement(self.placement, placement)
        before, self.placement = self.troubles, placement
        self.troubles = {
            Key("Router", unplaced.router): Trouble("unplaced", unplaced.detail) for unplaced in scheduled.unplaced
        }
        if changed:
            self._events.emit(PLACEMENT_CHANGED, routers=len(changed), first=str(min(changed)))
        return changed | (before.keys() ^ self.troubles.keys())


def with_unfit_last(
    placement: Placement, needs: Iterable[RouterNeed], unfit: Mapping[str, frozenset[str]]
) -> Placement:
    """Return the placement with each router's unfit gateways at the end of its list."""
    return Placement(
        routers={
            need.name: demoted(order, unfit.get(need.physnet, ()), top=TOP_PRIORITY, step=PRIORITY_STEP)
            for need in needs
            if (order := placement.routers.get(need.name)) is not None
        }
    )


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
    """Return the placement that NB holds for our routers, most wanted first."""
    routers = {}
    for name in inventory.of_kind("Router"):
        members = [
            (row.columns["chassis_name"], row.columns["priority"])
            for row in index.rows_of(Key("Router", name))
            if row.table == "HA_Chassis"
        ]
        if members:
            routers[name] = tuple(sorted(members, key=lambda member: (-member[1], member[0])))
    return Placement(routers=routers)
