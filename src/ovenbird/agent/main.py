"""The life of an agent: wires the parts of the host's roles, runs them until told to end, leaves the daemons running.

Parts start in the order in which a network becomes useful; what needs slow imports (controller, API, reporter) is
imported only after the daemons are under way. Ending the agent never ends a daemon.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from ovenbird.agent.identity import check_address
from ovenbird.agent.parts import keep_part
from ovenbird.central.tier import CentralTier
from ovenbird.host.chassis import Chassis
from ovenbird.host.southbound import Southbound
from ovenbird.model.cluster import Cluster, Database, Host, Role
from ovenbird.model.layout import Layout
from ovenbird.ovsdb import Client
from ovenbird.process import precedence

if TYPE_CHECKING:
    from ovenbird.host.bird import Bird
    from ovenbird.host.fitness import Fitness
    from ovenbird.host.outside import Outside
    from ovenbird.host.strain import Strain

AGENT_STARTED = "agent.started"
AGENT_STOPPED = "agent.stopped"
STOP_PATIENCE_S = 1.5
"""After SIGTERM the parts get this long to end; then the process leaves anyway."""

_log = logging.getLogger(__name__)


class Agent:
    """One host's agent."""

    def __init__(self, cluster: Cluster, host: Host, layout: Layout | None = None) -> None:
        self._cluster = cluster
        self._host = host
        self._layout = layout or Layout()
        self._tasks: list[asyncio.Task[None]] = []
        self.tier: CentralTier | None = None
        self.chassis: Chassis | None = None
        self.southbound: Southbound | None = None

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT. Raises `Refused` when this host is not what the description says."""
        began = time.monotonic()
        precedence.give(os.getpid(), precedence.AGENT)
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended.set)
        await check_address(self._cluster, self._host, self._layout.state_dir / "underlay.json")
        # Whatever may be refused comes before anything is started.
        chassis = await Chassis.prepare(self._cluster, self._host, self._layout) if self._host.is_chassis else None
        if self._host.is_central:
            self._add_central(CentralTier(self._cluster, self._host, self._layout))
        if chassis is not None:
            self._add_chassis(chassis)
        roles = sorted(role.value for role in self._host.roles)
        took_ms = round((time.monotonic() - began) * 1000)
        _log.info(AGENT_STARTED, extra={"roles": roles, "pid": os.getpid(), "took_ms": took_ms})
        async with Client(Database.OVENBIRD.value, self._cluster.remotes(Database.OVENBIRD)) as client:
            try:
                # Slow imports, beside the daemons' start and not before it.
                await asyncio.to_thread(_import_late_parts, central=self._host.is_central)
                if self._host.bgp is None and (self._layout.bird_run / "bird.pid").exists():
                    await self._end_bird()
                self._add_reporting(client)
                if self.tier is not None:
                    self._add("controller", self._run_controller)
                await ended.wait()
            finally:
                await self._stop()

    def _add(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        self._tasks.append(asyncio.create_task(keep_part(name, run), name=name))

    def _add_central(self, tier: CentralTier) -> None:
        self.tier = tier
        for database, member in tier.members.items():
            self._add(f"database-{database.short}", member.run)
        self._add("northd", tier.run_northd)
        self._add("upkeep", tier.run_upkeep)

    def _add_chassis(self, chassis: Chassis) -> None:
        self.chassis = chassis
        self._add("conf-db", chassis.run_database)
        self._add("switch", chassis.run_switch)
        self._add("vswitchd", chassis.run_vswitchd)
        self._add("ovn-controller", chassis.run_controller)
        self.southbound = Southbound(
            self._cluster,
            self._layout,
            chassis.controller_spec,
            chassis.use_southbound,
            is_gateway=Role.GATEWAY in self._host.roles,
            news=chassis.news,
        )
        self._add("southbound", self.southbound.run)

    async def _run_controller(self) -> None:
        """Stand for election as controller and serve the API, whichever of the centrals wins."""
        from ovenbird.api.server import serve
        from ovenbird.controller.service import ControllerService

        async with ControllerService(self._cluster, self._host.name) as service:
            socket = self._layout.api_socket
            await keep_part("api", lambda: serve(service, socket_path=socket, layout=self._layout))

    def _add_reporting(self, client: Client) -> None:
        from ovenbird.agent.facts import gather_facts
        from ovenbird.agent.reporter import Reporter

        news = self.chassis.news if self.chassis else None
        bird = self._bird()
        fitness = self._add_fitness(client, bird)
        outside = self._add_gateway_parts(fitness, client, bird) if fitness is not None else None
        if fitness is None and self.chassis is not None:
            from ovenbird.host.handover import Handover

            self._add("handover", Handover(self._host, self.chassis, client).run)
        strain = self._add_strain()

        async def look() -> dict[str, Any]:
            return await gather_facts(self.tier, self.chassis, fitness, self.southbound, strain, outside, bird)

        reporter = Reporter(self._host, client, look, news=news)
        self._add("reporter", reporter.run)
        if self.chassis is not None:
            from ovenbird.host.attachments import Attachments

            attachments = Attachments(self._cluster, self._host.name, self.chassis, client, self._layout)
            self._add("attachments", attachments.run)

    def _add_strain(self) -> Strain | None:
        """Measure how busy the host is, where BFD depends on it."""
        if self.chassis is None:
            return None
        from ovenbird.host.strain import Strain

        strain = Strain(self.chassis)
        self._add("strain", strain.run)
        return strain

    async def _end_bird(self) -> None:
        from ovenbird.host.bird import end_leftover

        await end_leftover(self._layout)

    def _bird(self) -> Bird | None:
        """Return BIRD, on gateways that route."""
        if self._host.bgp is None:
            return None
        from ovenbird.host.bird import Bird

        return Bird(self._cluster, self._host, self._host.bgp, self._layout)

    def _add_fitness(self, client: Client, bird: Bird | None) -> Fitness | None:
        """Measure what BFD cannot see, on hosts that may carry routers."""
        if self.chassis is None or Role.GATEWAY not in self._host.roles:
            return None
        from ovenbird.host.fitness import Fitness

        fitness = Fitness(self._host, self.chassis, client, bird)
        self._add("fitness", fitness.run)
        return fitness

    def _add_gateway_parts(self, fitness: Fitness, client: Client, bird: Bird | None) -> Outside:
        """Announce what this gateway carries, hand it over without a gap, and let go of what it should not carry."""
        from ovenbird.agent.gateway_parts import gateway_parts

        assert self.chassis is not None
        assert self.southbound is not None
        whom = (self.chassis, self.southbound, fitness, client, bird)
        found = gateway_parts(self._cluster, self._host, self._layout, *whom)
        for name, run in found.parts.items():
            self._add(name, run)
        return found.outside

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            _, stuck = await asyncio.wait(self._tasks, timeout=STOP_PATIENCE_S)
            for task in stuck:
                _log.warning("part.stuck", extra={"part": task.get_name()})
        _log.info(AGENT_STOPPED)


def _import_late_parts(*, central: bool) -> None:
    names = ["ovenbird.agent.facts", "ovenbird.agent.reporter", "ovenbird.host.attachments"]
    if central:
        names.append("ovenbird.controller.service")
    for name in names:
        importlib.import_module(name)
