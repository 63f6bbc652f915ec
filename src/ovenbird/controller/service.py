"""A controller candidate as one thing: the declared state, the election, the reconciler and what waits for chassis.

One per central host, inside the agent's process. All parts run from the start, so that a standby's copies are hot; only
the acting controller writes to NB. A part that fails is an event and starts again; it must never take the others along.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from ovenbird.controller.events import Events
from ovenbird.controller.fitness import GatewayFitness
from ovenbird.controller.gateway_estimates import GatewayEstimates
from ovenbird.controller.gateway_history import GatewayHistory
from ovenbird.controller.gateway_sight import GatewaySight
from ovenbird.controller.leadership import Leadership
from ovenbird.controller.nb_watch import NbWatch
from ovenbird.controller.problems import Problems
from ovenbird.controller.pulse import PulseWatch, beat_for_ever
from ovenbird.controller.realisation import Realisation
from ovenbird.controller.reconcile import AUDIT_EVERY_S, Reconciler
from ovenbird.controller.sb_watch import SbWatch
from ovenbird.controller.store import Store
from ovenbird.controller.supervisor import keep_running
from ovenbird.controller.unpacking import Unpacking
from ovenbird.model.cluster import Cluster, Database
from ovenbird.plan.election import Timers


class ControllerService:
    """Everything that a central host's controller is. `async with ControllerService(cluster, node) as service`."""

    def __init__(
        self,
        cluster: Cluster,
        node: str,
        *,
        remotes: Mapping[Database, Sequence[str]] | None = None,
        timers: Timers | None = None,
        audit_every_s: float = AUDIT_EVERY_S,
    ) -> None:
        """`remotes` replaces what the cluster's description says, database by database."""
        chosen = remotes or {}
        self.cluster = cluster
        self.node = node
        self.events = Events(node)
        self.store = Store(cluster, self.events, remotes=chosen.get(Database.OVENBIRD))
        self.nb = NbWatch(cluster, self.events, remotes=chosen.get(Database.NB))
        self.sb = SbWatch(cluster, self.events, remotes=chosen.get(Database.SB))
        timers = timers or Timers()
        self.pulses = PulseWatch(self.store.client, self.events, timers.pulse)
        self.leadership = Leadership(node, self.store, self.nb, self.pulses, self.events, timers=timers)
        self.realisation = Realisation(cluster, self.store, self.nb, self.sb)
        self.fitness = GatewayFitness(cluster, self.events)
        self.gateways = GatewaySight(
            cluster, self.store, self.sb, self.realisation.heartbeat_age_s, unfit=lambda: self.fitness.anywhere
        )
        self.reconciler = Reconciler(
            self.store,
            self.nb,
            self.leadership,
            self.events,
            self.gateways,
            self.fitness,
            self.realisation,
            audit_every_s=audit_every_s,
        )
        self.gateway_estimates = GatewayEstimates(self.store, self.leadership, self.gateways, self.fitness, self.events)
        self.gateway_history = GatewayHistory(
            self.store, self.leadership, self.gateways, self.reconciler, self.gateway_estimates, self.events
        )
        self.unpacking = Unpacking(self.store, self.leadership, self.events)
        self.store.subscribe(lambda _: self.unpacking.look())
        self.sb.subscribe(self.gateway_history.look)
        self.sb.subscribe(self.reconciler.look_at_gateways)
        self.store.subscribe(lambda _: self.leadership.wake())
        self.nb.subscribe(lambda _: self.leadership.wake())
        self.pulses.subscribe(self.leadership.wake)
        self._parts = contextlib.AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def problems(self) -> Problems:
        """What cannot be realised, by object; known to the acting controller only."""
        return self.reconciler.problems

    async def _beat(self) -> None:
        leadership = self.leadership
        await beat_for_ever(self.store.client, self.pulses, leadership.timers.pulse, lambda: leadership.epoch)

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as parts:
            for part in (self.store, self.pulses, self.nb, self.sb):
                await parts.enter_async_context(part)
            self._parts = parts.pop_all()
        runs = {
            "election": self.leadership.run,
            "pulse": self._beat,
            "reconcile": self.reconciler.run,
            "unpack": self.unpacking.run,
            "gateway-history": self.gateway_history.run,
            "gateway-estimates": self.gateway_estimates.run,
        }
        self._tasks = [
            asyncio.create_task(keep_running(name, run, self.events), name=name) for name, run in runs.items()
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in reversed(self._tasks):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self._parts.__aexit__(kind, error, trace)
