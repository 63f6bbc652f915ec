"""What this process sees of gateways: which are good and since when, which are drained, and who carries which router.

It looks, and decides nothing: every central host has one, so that questions are answered everywhere. What SB or the
Ovenbird database does not say just now is not known. It must never be filled from what was known before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping

from ovenbird.controller.node_facts import bfd_ends, controller_connected, daemons, is_held, strain_of
from ovenbird.controller.placing import carried_routers
from ovenbird.controller.records import NodeRecord
from ovenbird.controller.sb_watch import SbWatch
from ovenbird.controller.store import Store
from ovenbird.model.cluster import Cluster, Role
from ovenbird.plan import separation
from ovenbird.plan.bfd_timers import Strain, bfd_timers
from ovenbird.plan.failback import Carried, Gateways
from ovenbird.plan.gateway_death import Watcher, dead_peers
from ovenbird.plan.gateway_readiness import HEARD_S, GatewayFacts, Readiness, ReadinessWatch
from ovenbird.plan.legs import legs_of
from ovenbird.plan.rows import Placement
from ovenbird.plan.separation import seen_by

NEEDED = ("ovs-vswitchd", "ovn-controller")
"""Daemons without which a host carries nothing."""


class GatewaySight:
    """Sees gateways. `look` from time to time: since when one is good is counted from the looks."""

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        sb: SbWatch,
        heartbeat_age_s: Callable[[str], float | None],
        *,
        unfit: Callable[[], frozenset[str]] = frozenset,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`unfit` tells the gateways that should carry nothing because of what was measured of them."""
        self._cluster = cluster
        self._store = store
        self._sb = sb
        self._heartbeat_age_s = heartbeat_age_s
        self._unfit = unfit
        self._clock = clock
        self._watch = ReadinessWatch(float(cluster.gateways.lost_after_s))

    @property
    def names(self) -> tuple[str, ...]:
        """Every gateway of the cluster."""
        return tuple(host.name for host in self._cluster.hosts if Role.GATEWAY in host.roles)

    def look(self) -> tuple[Gateways, float]:
        """Return what is known of gateways now, and when that is."""
        now_s = self._clock()
        dead = dead_peers(self._watchers()) if self._store.synced else frozenset[str]()
        good_since_s = self._watch.look(self._facts(dead), now_s)
        drained = frozenset(self._store.state.drained)
        seen = seen_by(self.hosts())
        known = Gateways(
            drained=drained,
            unfit=self._unfit(),
            good_since_s=good_since_s,
            dead=dead,
            seen_by=seen,
            weights={host.name: host.weight for host in self._cluster.hosts if host.weight != 1},
            lost=self._watch.lost(now_s),
        )
        return known, now_s

    def hosts(self) -> tuple[separation.Host, ...]:
        """Return what is known of every chassis of the cluster, as witnesses of each other."""
        known, wanted = self._sb.synced, self._sb.nb_cfg
        private = self._sb.chassis_private()
        carrying = {name for name in self.carriers().values() if name is not None}
        found = []
        for host in self._cluster.hosts:
            if host.is_chassis:
                progress = private.get(host.name) if known else None
                node = self._store.state.nodes.get(host.name)
                found.append(
                    separation.Host(
                        name=host.name,
                        is_gateway=Role.GATEWAY in host.roles,
                        silent_s=self._heartbeat_age_s(host.name),
                        confirms=progress["nb_cfg"] >= wanted if progress is not None and wanted is not None else None,
                        carries=host.name in carrying,
                        bfd={end.peer: end.up for end in bfd_ends(host.name, node.facts if node else {}, 0.0)},
                    )
                )
        return tuple(found)

    def _watchers(self) -> Iterator[Watcher]:
        for name, node in self._store.state.nodes.items():
            is_heard = self._is_heard(name)
            for end in bfd_ends(name, node.facts, 0.0):
                yield Watcher(host=name, peer=end.peer, up=end.up, is_heard=is_heard)

    def readiness(self, name: str) -> Readiness:
        """Return the verdict of the latest look."""
        return self._watch.verdicts.get(name, Readiness(good=None, why="not looked at yet"))

    def strains(self) -> list[Strain]:
        """Return how busy each host is whose agent was heard lately."""
        return [strain_of(name, node.facts) for name, node in self._store.state.nodes.items() if self._is_heard(name)]

    def _is_heard(self, name: str) -> bool:
        age_s = self._heartbeat_age_s(name)
        return age_s is not None and age_s <= HEARD_S

    def carriers(self) -> dict[str, str | None]:
        """Return who carries each router's legs; None when not known, or nobody does."""
        seen = self._sb.carriers() if self._sb.synced else {}
        return {
            leg.name: seen.get(leg.binding)
            for declared in self._store.inventory.of_kind("Router").values()
            for leg in legs_of(declared)
        }

    async def carried(self, wanted: Mapping[str, str], *, timeout_s: float) -> None:
        """Return once gateways carry the legs that they should (leg -> gateway), or raise TimeoutError."""

        def are_there() -> bool:
            carriers = self.carriers()
            return all(carriers.get(leg, gateway) == gateway for leg, gateway in wanted.items())

        await self._sb.changing.wait_for(are_there, timeout_s=timeout_s)

    async def confirmed(self, chassis: Collection[str], nb_cfg: int, *, timeout_s: float) -> None:
        """Return once these have done all that NB asked for up to a number, or raise TimeoutError."""
        await self._sb.changing.wait_for(lambda: self._sb.confirmed(chassis, nb_cfg), timeout_s=timeout_s)

    def senders(self, legs: Collection[str]) -> frozenset[str]:
        """Return the hosts that send to the gateways of these legs, and whose agents are heard."""
        found = self._sb.senders(legs) if self._sb.synced else frozenset[str]()
        return frozenset(name for name in found if self._is_heard(name))

    def macs(self) -> dict[str, str]:
        """Return the MAC address outside of each router's legs."""
        routers = self._store.inventory.of_kind("Router").values()
        return {leg.name: leg.mac for declared in routers for leg in legs_of(declared)}

    @property
    def pinned(self) -> frozenset[str]:
        """Legs that are gateway routers."""
        routers = self._store.inventory.of_kind("Router").values()
        return frozenset(leg.name for declared in routers for leg in legs_of(declared) if leg.pinned)

    @property
    def detect_ms(self) -> int:
        """What BFD needs to find a gateway dead, at most."""
        return bfd_timers(self._cluster, self.strains(), time.time()).detect_ms

    def routers(self, placement: Placement) -> list[Carried]:
        """Return every router with an external leg and a gateway in `placement`."""
        return carried_routers(self._cluster, self._store.state, placement, self.carriers(), placement.routers)

    def _facts(self, dead: Collection[str]) -> Iterator[GatewayFacts]:
        known, wanted = self._sb.synced, self._sb.nb_cfg
        chassis, private = self._sb.chassis(), self._sb.chassis_private()
        for name in self.names:
            progress = private.get(name) if known else None
            node = self._store.state.nodes.get(name)
            facts: Mapping[str, object] = node.facts if node else {}
            running = daemons(facts)
            yield GatewayFacts(
                name=name,
                registered=(name in chassis and progress is not None) if known else None,
                behind=progress["nb_cfg"] < wanted if progress is not None and wanted is not None else None,
                heartbeat_age_s=self._heartbeat_age_s(name),
                daemons_run=all(running[each] for each in NEEDED) if set(NEEDED) <= running.keys() else None,
                held=is_held(facts),
                connected=controller_connected(facts),
                dead=name in dead,
                bfd=tuple(end.up for end in bfd_ends(name, facts, 0.0)),
                incarnation=_incarnation(node),
            )


def _incarnation(node: NodeRecord | None) -> str:
    told = node.facts.get("daemons") if node else None
    if node is None or not isinstance(told, Mapping):
        return ""
    pids = [each.get("pid") if isinstance(each := told.get(name), Mapping) else None for name in NEEDED]
    return f"{node.boot_id} {pids}"
