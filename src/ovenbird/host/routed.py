"""Tells upstream what this gateway carries, where it shares no layer 2 with it: by routes of the kernel.

As soon as the flows say that an address is carried here its route is there, and BIRD tells the neighbors; as soon as
it is not, the route goes. What is known of it is kept when this agent starts anew: no route is taken away because
nobody could be asked yet. It must never add a route while others still send to the gateway that carried before.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ovenbird.host import routed_links
from ovenbird.host.chassis import Chassis
from ovenbird.model.cluster import Bgp
from ovenbird.model.errors import OvenbirdError
from ovenbird.model.layout import Layout
from ovenbird.model.objects import KINDS, Assigned, Declared
from ovenbird.ovsdb import Client, Replica
from ovenbird.plan.announcing import Held
from ovenbird.plan.routed import CarriedRoute, RoutedNetwork, carried_routes, changes, routed_networks
from ovenbird.plan.switch import provider_bridge
from ovenbird.process import daemon

ROUTES_SET = "routed.set"
NOT_SET = "routed.not_set"
READY = "routed.ready"
LOOK_S = 2.0
RETRY_S = 0.05
"""While something is not to be told yet."""
LINKS_S = 0.2
UNSURE_S = 15.0
"""After this agent's start: what is there stays until it is known what is carried, but no longer than this."""
_OBJECTS = {"Object": ("kind", "name", "spec", "assigned", "revision")}
_WHERE = {"Object": [("kind", "==", kind) for kind in ("ExternalNetwork", "Network", "Router")]}

_log = logging.getLogger(__name__)


class Routed:
    """The routes of one gateway."""

    def __init__(
        self,
        bgp: Bgp,
        chassis: Chassis,
        layout: Layout,
        client: Client,
        *,
        may_add: Callable[[], bool],
        is_silent: Callable[[], bool],
    ) -> None:
        """`may_add`: whether what is new may be told; `is_silent`: whether nothing may be told at all."""
        self._bgp = bgp
        self._chassis = chassis
        self._layout = layout
        self._client = client
        self._may_add = may_add
        self._is_silent = is_silent
        self._held = Held()
        self._woken = asyncio.Event()
        self._networks: tuple[RoutedNetwork, ...] = _remembered(layout.routed_networks)
        self._there: frozenset[CarriedRoute] = frozenset()
        self._told = ""

    def carry(self, held: Held) -> None:
        """Take in what is carried from now on."""
        self._held = held
        self._woken.set()

    async def run(self) -> None:
        """Keep the routes, and what they need, until cancelled."""
        await self._chassis.settled.wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_networks())
            group.create_task(self._keep_links())
            group.create_task(self._keep_routes())

    # Declared networks.

    async def _watch_networks(self) -> None:
        async with Replica(self._client, _OBJECTS, where=_WHERE) as replica:
            async for _ in replica.changes():
                declared = [_declared(row) for row in replica.table("Object").values()]
                found = routed_networks([each for each in declared if each is not None], self._bgp.physnets)
                if found != self._networks:
                    self._networks = found
                    _remember(self._layout.routed_networks, found)
                    self._woken.set()

    # Links.

    async def _keep_links(self) -> None:
        """Have the bridges' ports ready: at once when ovs-vswitchd has made them anew, and else now and then."""
        seen: tuple[object, ...] = ()
        looked_s = 0.0
        while True:
            now = (self._networks, daemon.find(self._chassis.vswitchd_spec), *map(_index, self._bgp.physnets))
            if now != seen or time.monotonic() - looked_s >= LOOK_S:
                done = await self._try(self._ready_links, first=now != seen)
                if done and now != seen:
                    _log.info(READY, extra={"physnets": list(self._bgp.physnets)})
                    self._woken.set()
                seen, looked_s = (now if done else ()), time.monotonic()
            await asyncio.sleep(LINKS_S)

    async def _ready_links(self, *, first: bool) -> None:
        physnets = self._bgp.physnets
        by_physnet: dict[str, set[str]] = {physnet: set() for physnet in physnets}
        for network in self._networks:
            by_physnet[network.physnet].add(network.gateway)
        await routed_links.keep_settings(physnets, [each.address for each in self._bgp.neighbors])
        await routed_links.keep_rules(physnets, self._networks)
        await routed_links.keep_addresses(by_physnet)
        if first:
            await routed_links.keep_filter(physnets)
            await routed_links.keep_flows(self._layout, physnets)

    # Routes.

    async def _keep_routes(self) -> None:
        began_s = time.monotonic()
        looked_s = -LOOK_S
        while True:
            self._woken.clear()
            if time.monotonic() - looked_s >= LOOK_S and await self._try(self._read):
                looked_s = time.monotonic()
            wanted, waits = self._wanted(time.monotonic() - began_s)
            lines = changes(wanted, self._there)
            if lines and not await self._try(self._change, lines=lines, wanted=wanted):
                looked_s, waits = -LOOK_S, True
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY_S if waits else LOOK_S):
                    await self._woken.wait()

    def _wanted(self, running_s: float) -> tuple[frozenset[CarriedRoute], bool]:
        """Return the routes to have, and whether there are more that are to be looked at again soon."""
        if self._is_silent():
            return frozenset(), False
        if not self._held.is_sure and running_s < UNSURE_S:
            return self._there, False
        routes = carried_routes(self._held.those, self._networks)
        if routes <= self._there or self._may_add():
            return routes, False
        return routes & self._there, True

    async def _read(self) -> None:
        self._there = await routed_links.read_routes()

    async def _change(self, lines: tuple[str, ...], wanted: frozenset[CarriedRoute]) -> None:
        began_s = time.monotonic()
        await routed_links.change_routes(lines)
        new, gone = len(wanted - self._there), len(self._there - wanted)
        self._there = wanted
        took_ms = round(1000 * (time.monotonic() - began_s))
        _log.info(ROUTES_SET, extra={"new": new, "gone": gone, "routes": len(wanted), "took_ms": took_ms})

    async def _try(self, act: Callable[..., Awaitable[None]], **options: Any) -> bool:
        """Do something of the kernel's or Open vSwitch's; what fails is told once, and done again later."""
        try:
            await act(**options)
        except (OvenbirdError, OSError, ValueError) as error:
            if str(error) != self._told:
                self._told = str(error)
                _log.warning(NOT_SET, extra={"error": self._told})
            return False
        self._told = ""
        return True


def _index(physnet: str) -> str:
    """Return the number of a bridge's port, another one each time that it is made; "" while there is none."""
    try:
        return daemon.small_file(f"/sys/class/net/{provider_bridge(physnet)}/ifindex")
    except OSError:
        return ""


def _declared(row: Any) -> Declared | None:
    """Return a stored object; None for one that cannot be read, which others tell of."""
    try:
        assigned = json.loads(row["assigned"] or "{}")
        others = tuple(assigned.pop("others", ()))
        spec = KINDS[row["kind"]].model_validate_json(row["spec"])
        return Declared(
            kind=row["kind"],
            name=row["name"],
            spec=spec,
            assigned=Assigned(**assigned, others=others),
            revision=row["revision"],
        )
    except (ValueError, TypeError, KeyError):
        return None


def _remember(file: Path, networks: tuple[RoutedNetwork, ...]) -> None:
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_suffix(".new")
        new.write_text(json.dumps([asdict(each) for each in networks]), encoding="utf-8")
        new.replace(file)


def _remembered(file: Path) -> tuple[RoutedNetwork, ...]:
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        return tuple(RoutedNetwork(**{**each, "behind": tuple(map(tuple, each["behind"]))}) for each in stored)
    except (OSError, ValueError, TypeError, KeyError):
        return ()
