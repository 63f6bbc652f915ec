"""The stage on a lab, set once and kept for drill after drill; what is asked of the cluster before each of them.

Setting and striking the stage takes longer than most faults. So a scene is kept between drills: each still begins with
a cluster that calls itself healthy and with the stage as declared, and is held to leave nothing else behind. This
module must never leave the stage standing when it is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable

from ovenbird.drill import stage as stages
from ovenbird.drill.final import WORKLOAD_THINGS, residue
from ovenbird.drill.lab_api import LabApi
from ovenbird.drill.phases import Phases
from ovenbird.drill.stage import Api, Stage
from ovenbird.lab import faults as lab_faults
from ovenbird.lab.lab import Lab
from ovenbird.lab.node import start_agent
from ovenbird.model.cluster import Role
from ovenbird.model.errors import OvenbirdError, Timeout

READY_S = 90.0
"""How long a cluster may take to be healthy before a drill."""
POLL_S = 0.1
AGENT_EXIT_S = 10.0
PHYSNET = "ext"

Progress = Callable[[str], None]


class Scene:
    """The stage of one lab, kept between drills; `close` takes it away."""

    def __init__(self, lab: Lab, progress: Progress) -> None:
        self.lab = lab
        self.api: Api = LabApi(lab)
        self.stage: Stage | None = None
        self._set: set[str] = set()
        """What there is of the drill's while the stage stands."""
        self._progress = progress

    async def begin(self, phases: Phases, *, forgetful: bool = False, idle: bool = False) -> Stage:
        """Heal what an earlier run left broken, wait until the cluster is healthy, and set the stage or look after it.

        `idle`: a stage without workloads; one that stands otherwise is struck first.

        `forgetful`: let another central host act, which knows nothing of earlier drills. An acting controller holds
        every relapse of a gateway against it for a quarter of an hour, and lets it wait twice as long each time.
        Raises `Timeout` with what is not healthy or not realised.
        """
        with phases.of("heal leftovers"):
            await asyncio.to_thread(heal_leftovers, self.lab, self.api, self._progress, strike=self.stage is None)
        if forgetful:
            with phases.of("change the controller"):
                await asyncio.to_thread(change_controller, self.lab, self.api)
        with phases.of("wait until healthy"):
            await self.healthy()
        with phases.of("set the stage"):
            if self.stage is not None and idle == bool(self.stage.workloads):
                await asyncio.to_thread(stages.strike, self.api)
            self.stage = await asyncio.to_thread(self._prepare, idle)
            there = await asyncio.to_thread(residue, self.lab, self.api, timeout_s=0)
            # A workload is attached a moment before its port is to be seen everywhere.
            workloads = self.stage.workloads.items()
            self._set = {*there, *(f"{what} {port} on {node}" for port, node in workloads for what in WORKLOAD_THINGS)}
        return self.stage

    @property
    def standing(self) -> Stage:
        """The stage; only after `begin`."""
        assert self.stage is not None
        return self.stage

    async def healthy(self) -> None:
        """Wait until the cluster calls itself healthy; raises `Timeout` with what is not."""
        await ready(self.lab, self.api, READY_S)

    async def end(self, phases: Phases) -> list[str]:
        """Take away what the drill wrote; return what else is left besides the stage."""
        with phases.of("clean up"):
            await asyncio.to_thread(stages.forget_writes, self.api)
            return await asyncio.to_thread(residue, self.lab, self.api, kept=self._set)

    async def close(self) -> list[str]:
        """Heal every fault and strike the stage; return what is left of it all the same."""
        await asyncio.to_thread(lab_faults.heal, self.lab)
        self.stage = None
        await asyncio.to_thread(stages.strike, self.api)
        return await asyncio.to_thread(residue, self.lab, self.api)

    def _prepare(self, idle: bool) -> Stage:
        computes = [host.name for host in self.lab.spec.cluster().hosts if Role.COMPUTE in host.roles]
        outside = str(self.lab.spec.outside[0].address).split("/", 1)[0]
        untagged = [str(one.address).split("/", 1)[0] for one in self.lab.spec.outside if one.vlan is None]
        outside6 = next((address for address in untagged if ":" in address), "")
        return stages.prepare(self.api, computes, outside=outside, physnet=PHYSNET, outside6=outside6, idle=idle)


def change_controller(lab: Lab, api: Api) -> None:
    """Restart the agent that holds the controller's leadership, in good order; its daemons run on."""
    with contextlib.suppress(OvenbirdError):
        leader = (api.get("/v1/status").get("controller") or {}).get("leader")
        node = lab.node(str(leader))
        if (agent := node.pids().get("agent")) is not None:
            agent.signal(signal.SIGTERM)
            if agent.wait_gone(timeout_s=AGENT_EXIT_S):
                start_agent(node)


def heal_leftovers(lab: Lab, api: Api, progress: Progress, *, strike: bool = True) -> None:
    """Heal what an earlier run left broken; with `strike`, take its stage away if that can be reached."""
    for fault in lab_faults.heal(lab):
        progress(f"healed what an earlier run left: {fault.describe()}")
    lab.up()
    if strike:
        with contextlib.suppress(OvenbirdError):
            stages.strike(api)


async def ready(lab: Lab, api: Api, timeout_s: float) -> None:
    """Wait until the cluster calls itself healthy; raises `Timeout` with what is not."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        said = "no answer"
        with contextlib.suppress(OvenbirdError):
            status = await asyncio.to_thread(api.get, "/v1/status", timeout_s=5.0)
            if status.get("verdict") == "healthy":
                return
            said = "; ".join(str(reason["message"]) for reason in status.get("reasons", ())[:5])
        if time.monotonic() > deadline_s:
            raise Timeout(f"the cluster is not healthy after {timeout_s:g} s", subject=lab.name, evidence=said)
        await asyncio.sleep(2 * POLL_S)
