"""The acting controller's memory of which gateways are fit: feeds agents' facts to the judgement, tells its changes.

It starts from nothing with each leadership: what is bad is bad in the facts, too, and what is only held down stays
where NB has it. Must never act by itself.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from ovenbird.controller.events import GATEWAY_FIT, GATEWAY_UNFIT, Events
from ovenbird.controller.records import NodeRecord
from ovenbird.model.cluster import Cluster, Role
from ovenbird.plan import fitness
from ovenbird.plan.fitness import Policy, Sight, Spot, Verdict
from ovenbird.plan.hold_down import HoldDown

WAITING_S = 0.05
FRESH_S = 12.0
"""An agent that gave no sign for this long (two heartbeats and some) tells nothing any more."""


class GatewayFitness:
    """Verdicts on gateways, kept from one look to the next."""

    def __init__(self, cluster: Cluster, events: Events) -> None:
        self._cluster = cluster
        self._events = events
        self._policy = Policy(hold_down=HoldDown.of(cluster.gateways))
        self._looked_s = 0.0
        self.verdicts: dict[Spot, Verdict] = {}

    @property
    def unfit(self) -> dict[str, frozenset[str]]:
        """Physical network -> gateways that must not carry routers while others can."""
        return fitness.unfit(self.verdicts)

    @property
    def look_again_s(self) -> float:
        """Longest time until the next look."""
        return WAITING_S if fitness.is_waiting(self.verdicts, self._looked_s, self._policy) else math.inf

    @property
    def anywhere(self) -> frozenset[str]:
        """Gateways that are unfit on one physical network at least."""
        return frozenset(name for names in self.unfit.values() for name in names)

    def judge(self, nodes: Mapping[str, NodeRecord], now_s: float) -> None:
        """Look at what the agents tell, and tell who became fit or unfit. `now_s` is monotonic."""
        self._looked_s = now_s
        before = self.verdicts
        self.verdicts = fitness.judge(sights(self._cluster, nodes, time.time()), before, now_s, self._policy)
        for spot, verdict in self.verdicts.items():
            was = before.get(spot, Verdict())
            if verdict.is_fit != was.is_fit:
                name, why = (GATEWAY_FIT, was.why) if verdict.is_fit else (GATEWAY_UNFIT, verdict.why)
                self._events.emit(name, gateway=spot[0], physnet=spot[1], why=why)

    def bad_for(self, name: str) -> tuple[str, int] | None:
        """Return for what a gateway is unfit, and for how many milliseconds that has been told; None if it is fit."""
        now_s = time.monotonic()
        told = (
            (verdict.cause, round(1000 * (now_s - verdict.seen_s[verdict.cause])))
            for (gateway, _), verdict in self.verdicts.items()
            if gateway == name and verdict.cause in verdict.seen_s
        )
        return next(told, None)

    def forget(self) -> None:
        """Start anew: another controller acts now."""
        self.verdicts = {}


def sights(cluster: Cluster, nodes: Mapping[str, NodeRecord], now_s: float) -> tuple[Sight, ...]:
    """Return what is known of each gateway; `now_s` is unix time. An agent whose clock is ahead is not late."""
    found = []
    for host in cluster.hosts:
        node = nodes.get(host.name)
        if Role.GATEWAY in host.roles:
            told = fitness.read_fitness(node.facts) if node is not None else {}
            physnets = {physnet: told.get(physnet, {}) for physnet in sorted(host.physnets)}
            fresh = node is not None and now_s - node.heartbeat_s <= FRESH_S
            found.append(Sight(name=host.name, is_fresh=fresh, physnets=physnets))
    return tuple(found)


def told_bad(cluster: Cluster, nodes: Mapping[str, NodeRecord], now_s: float) -> dict[str, str]:
    """Return what agents that are heard find bad, by gateway; known to every central host. `now_s` is unix time."""
    found: dict[str, str] = {}
    for sight in sights(cluster, nodes, now_s):
        bad = {
            f"{what}: {each.evidence}": None
            for findings in sight.physnets.values()
            for what, each in findings.items()
            if each.state is fitness.State.BAD
        }
        if sight.is_fresh and bad:
            found[sight.name] = "; ".join(bad)
    return found
