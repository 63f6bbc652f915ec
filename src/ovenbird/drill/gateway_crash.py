"""The drill `gateway-crash`: kill -9 of ovs-vswitchd on the gateway that carries a router, under traffic.

What must hold: another gateway takes over about as fast as BFD can notice, and the killed one comes back into service.
The host's own agent is left to repair its daemon: the drill heals nothing, it only watches. This module must
never signal anything but that one process.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ovenbird.drill import stage as stages
from ovenbird.drill.judge import Run, judge
from ovenbird.drill.load import Load, Stream
from ovenbird.drill.outage import NS_PER_MS
from ovenbird.drill.result import DrillResult, Moment
from ovenbird.drill.stage import Api, Stage
from ovenbird.drill.watch import GatewayWatch
from ovenbird.lab.lab import Lab
from ovenbird.lab.node import Node
from ovenbird.model.cluster import Role
from ovenbird.model.errors import Refused

NAME = "gateway-crash"
DAEMON = "ovs-vswitchd"
WARM_UP_S = 2.0
MOVE_TIMEOUT_S = 20.0
RETURN_TIMEOUT_S = 60.0
SETTLE_S = 3.0
"""Traffic is measured on for this long after the gateway is back, so that the cost of its return is seen."""

Progress = Callable[[str], None]


@dataclass(slots=True)
class Timeline:
    """Collects moments in unix nanoseconds and tells them as they happen."""

    progress: Progress
    moments: list[tuple[int, str]] = field(default_factory=list)

    def note(self, what: str, at_ns: int | None = None) -> None:
        """Record that something happened, now by default."""
        self.moments.append((at_ns or time.time_ns(), what))
        self.progress(what)

    def relative_to(self, fault_ns: int) -> list[Moment]:
        """Return the moments as milliseconds from the fault."""
        return [Moment((at - fault_ns) / NS_PER_MS, what) for at, what in sorted(self.moments)]


async def run(lab: Lab, api: Api, *, seed: int | None = None, progress: Progress = lambda _what: None) -> DrillResult:
    """Run the drill once on a lab. Raises `Refused` for a lab without two gateways and a compute host."""
    hosts = lab.spec.cluster().hosts
    if sum(Role.GATEWAY in host.roles for host in hosts) < 2:
        raise Refused(f"{NAME} needs two gateways", code="too_few_gateways", subject=lab.name)
    computes = [host.name for host in hosts if Role.COMPUTE in host.roles]
    chosen = random.randrange(2**31) if seed is None else seed
    progress(f"seed {chosen}; setting the stage")
    try:
        stage = await asyncio.to_thread(
            stages.prepare, api, computes, outside=str(lab.spec.outside[0].address).split("/", 1)[0], physnet="ext"
        )
        remotes = [
            f"unix:{node.path('/run/ovn/ovnsb_db.sock')}"
            for node in lab.nodes.values()
            if node.spec is not None and Role.CENTRAL in node.spec.roles and node.is_up
        ]
        async with GatewayWatch(remotes, stage.gateway_port) as watch:
            return judge(await _break(lab, stage, watch, chosen, Timeline(progress)))
    finally:
        progress("taking the stage away")
        await asyncio.to_thread(stages.strike, api)


async def _break(lab: Lab, stage: Stage, watch: GatewayWatch, seed: int, timeline: Timeline) -> Run:
    claim = await watch.wait_for(None, timeout_s=MOVE_TIMEOUT_S)
    gateway = lab.node(claim.chassis)
    phase_s = random.Random(seed).uniform(0, 1)
    with Load(lab, _streams(stage)) as load:
        await _warm(lab, stage)
        load_start_ns = time.time_ns()
        await asyncio.sleep(WARM_UP_S + phase_s)
        fault_ns = time.time_ns()
        bit = await asyncio.to_thread(_kill, gateway)
        timeline.note(f"kill -9 of {DAEMON} on {gateway.name}, which carried {stage.gateway_port}", fault_ns)
        moved = await watch.wait_for(None, unwanted=gateway.name, timeout_s=MOVE_TIMEOUT_S)
        timeline.note(f"{moved.chassis} has claimed {stage.gateway_port}", moved.at_ns)
        back_ns = await _returned(gateway, watch, timeline)
        await asyncio.sleep(SETTLE_S)
        end_ns = time.time_ns()
        records, _writes = await asyncio.to_thread(load.stop)
    return Run(
        name=NAME,
        seed=seed,
        records=records,
        load_start_ns=load_start_ns,
        fault_ns=fault_ns,
        back_ns=back_ns,
        end_ns=end_ns,
        fault_bit=bit,
        detect_limit_ms=lab.spec.cluster().bfd.detect_ms,
        timeline=timeline.relative_to(fault_ns),
    )


def _streams(stage: Stage) -> list[Stream]:
    snat, floating = stages.SNAT_PORT, stages.FIP_PORT
    return [
        Stream(name="snat", node=stage.workloads[snat], workload=snat, target=stage.outside),
        Stream(name="floating-ip", node=stage.workloads[floating], workload=floating, target=stage.outside),
        Stream(name="from-outside", node="outside", workload="", target=stage.floating_address),
    ]


async def _warm(lab: Lab, stage: Stage) -> None:
    """Wait until every stream's first packets have made their way (ARP, first flows); bounded."""
    for stream in _streams(stage):
        node = lab.node(stream.node)
        target = node.workload(stream.workload) if stream.workload else node
        ping = ["ping", "-q", "-c", "3", "-i", "0.05", "-W", "1", stream.target]
        for _attempt in range(20):
            if (await asyncio.to_thread(target.run, ping, timeout_s=10)).ok:
                break


def _kill(gateway: Node) -> bool:
    """Kill the daemon; True once that very process is gone."""
    victim = gateway.daemon(DAEMON)
    victim.signal(signal.SIGKILL)
    return victim.wait_gone(timeout_s=5)


async def _returned(gateway: Node, watch: GatewayWatch, timeline: Timeline) -> int | None:
    """Wait until the gateway runs its daemon and has its router again; return when, or None if it does not."""
    try:
        async with asyncio.timeout(RETURN_TIMEOUT_S):
            while DAEMON not in await asyncio.to_thread(gateway.pids):
                await asyncio.sleep(0.02)
            timeline.note(f"{DAEMON} runs again on {gateway.name}")
            claim = await watch.wait_for({gateway.name}, timeout_s=RETURN_TIMEOUT_S)
    except TimeoutError:
        return None
    timeline.note(f"{gateway.name} has claimed {watch.gateway_port} back", claim.at_ns)
    return claim.at_ns
