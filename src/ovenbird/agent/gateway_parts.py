"""Wires the parts of an agent that only a gateway has: what it carries, says outside, hands over and lets go of.

Imported late: nothing of it is needed to start daemons.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ovenbird.host.announcer import Announcer
from ovenbird.host.chassis import Chassis
from ovenbird.host.fitness import Fitness
from ovenbird.host.handover import Handover
from ovenbird.host.isolation import Isolated
from ovenbird.host.left_behind import LeftBehind
from ovenbird.host.membership import Membership
from ovenbird.host.muted import Muted
from ovenbird.host.outside import Outside
from ovenbird.host.southbound import Southbound
from ovenbird.host.southbound_rows import SouthboundRows
from ovenbird.host.unclaimed import Unclaimed
from ovenbird.model.cluster import Cluster, Database, Host, Role
from ovenbird.model.layout import Layout
from ovenbird.ovsdb import Client

if TYPE_CHECKING:
    from ovenbird.host.bird import Bird


@dataclass(frozen=True, slots=True)
class GatewayParts:
    """What to run, by name, and whom to ask what the outside knows."""

    parts: dict[str, Callable[[], Awaitable[None]]]
    outside: Outside


def gateway_parts(
    cluster: Cluster,
    host: Host,
    layout: Layout,
    chassis: Chassis,
    southbound: Southbound,
    fitness: Fitness,
    client: Client,
    bird: Bird | None,
) -> GatewayParts:
    """Return what announces what this gateway carries, hands it over without a gap, and sees that it lets go."""
    gateways = [each.name for each in cluster.hosts if Role.GATEWAY in each.roles]
    rows = SouthboundRows(cluster.remotes(Database.SB))
    outside = Outside(host, chassis, fitness.upstreams, gateways)
    muted = Muted(chassis, layout)

    def is_ours() -> bool:
        return not (fitness.controller_is_bad or handover.holding)

    def is_early() -> bool:
        return handover.senders_wait

    def may_add() -> bool:
        early = is_early() and not outside.lost_gateway(time.monotonic())
        return is_ours() and not early and chassis.held is not True

    announcer = Announcer(host, chassis, layout, rows, is_ours, is_early, outside, muted)
    left_behind = LeftBehind(host.name, rows, announcer, lambda: not fitness.controller_is_bad)
    isolated = Isolated(host, chassis, southbound, layout, announcer, muted, gateways, left_behind)
    handover = Handover(
        host,
        chassis,
        client,
        gateways=gateways,
        on_hold=announcer.lead_in,
        on_silence=announcer.silence,
        on_release=announcer.repeat,
    )
    parts: dict[str, Callable[[], Awaitable[None]]] = {
        "southbound-rows": rows.run,
        "announcer": announcer.run,
        "isolation": isolated.run,
        "membership": Membership(host, chassis, rows).run,
        "unclaimed": Unclaimed(chassis, rows, announcer).run,
        "handover": handover.run,
    }
    if host.bgp is not None and bird is not None:
        from ovenbird.host.routed import Routed

        routed = Routed(host.bgp, chassis, layout, client, may_add=may_add, is_silent=lambda: isolated.is_silent)
        announcer.routed = routed
        parts |= {"routed": routed.run, "bird": bird.run}
    return GatewayParts(parts, outside)
