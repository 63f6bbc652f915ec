"""Runs one drill on a lab: stage, load, faults by the script, return, and the record of all of it.

The runner decides nothing about the outcome: it records, and `judge` concludes. Nothing may stay broken when it ends,
however it ends: faults are in the lab's state file with a time limit, and every run first heals what an earlier one
left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

from ovenbird.drill import modes, sessions
from ovenbird.drill import stage as stages
from ovenbird.drill.baseline import Baseline
from ovenbird.drill.commits import commits
from ovenbird.drill.crowd import crowd
from ovenbird.drill.enact import Enactment, Progress
from ovenbird.drill.final import collect_final
from ovenbird.drill.load import Load, Stream
from ovenbird.drill.observers import Observers
from ovenbird.drill.phases import Phases
from ovenbird.drill.queue_drops import queue_drops, since
from ovenbird.drill.record import LOAD_STARTED, LOAD_STOPPED, Final, Meta, RunRecord
from ovenbird.drill.scene import Scene
from ovenbird.drill.script import Detector, Drill
from ovenbird.drill.stage import Api
from ovenbird.drill.switch_queues import kept_deep
from ovenbird.lab import faults as lab_faults
from ovenbird.lab.lab import Lab
from ovenbird.model.cluster import Role
from ovenbird.model.errors import OvenbirdError, Refused
from ovenbird.process import precedence

WARM_UP_S = 1.5
"""Load before the fault: what the noise and the floor are taken from. A random phase of up to a second comes on top."""
FLOW_TIMEOUT_S = 30.0
LONGEST_CALM_S, CALM_EVERY_S = 65.0, 1.0
"""How long hosts may take to calm down: an agent remembers for a minute how busy its host was."""
ELECTION_JITTER_MS = 1000
"""ovsdb-server waits up to this much longer than its election timer before it stands (ovsdb-server(1))."""


async def run(
    lab: Lab,
    drill: Drill,
    *,
    seed: int | None = None,
    baseline: bool = False,
    progress: Progress,
    scene: Scene | None = None,
) -> RunRecord:
    """Run a drill once and return its record. Raises `Refused` when the lab cannot carry it.

    `scene`: a stage that stands already and stays; without one, a stage is set and struck for this run alone.
    """
    require(lab, drill, baseline)
    chosen = random.randrange(2**31) if seed is None else seed
    progress(f"{drill.name}: seed {chosen}; setting the stage")
    own = scene or Scene(lab, progress)
    try:
        with precedence.behind_all():
            record = await _on(own, drill, chosen, baseline, progress)
        if scene is None:
            record = replace(record, final=replace(record.final, residue=await own.close()))
        return record
    finally:
        await asyncio.to_thread(lab_faults.heal, lab)
        if own.stage is not None and scene is None:
            with contextlib.suppress(OvenbirdError):
                await own.close()


async def _on(scene: Scene, drill: Drill, seed: int, baseline: bool, progress: Progress) -> RunRecord:
    """Run a drill on a scene, and leave that as it was."""
    phases = Phases()
    await scene.begin(phases, forgetful=drill.expect.moves, idle=drill.is_idle)
    async with _streams(scene, drill, phases, baseline) as streams:
        if baseline:
            return await _stock(scene, drill, seed, streams, phases, progress)
        record = await _measured(scene, drill, seed, phases, None, streams, progress)
    left = await scene.end(phases)
    meta = replace(record.meta, phases_s=phases.rounded())
    return replace(record, meta=meta, final=replace(record.final, residue=left))


@contextlib.asynccontextmanager
async def _streams(scene: Scene, drill: Drill, phases: Phases, baseline: bool) -> AsyncIterator[tuple[Stream, ...]]:
    """Provide the drill's streams, and what they need beside the stage for as long."""
    api, stage = scene.api, scene.standing
    try:
        with phases.of("set the stage"):
            if drill.has_sessions:
                streams = await asyncio.to_thread(sessions.prepare, scene.lab, api, stage)
            else:
                streams = stages.streams(stage)
            if drill.mode and not baseline:
                streams += await asyncio.to_thread(modes.prepare, scene.lab, api, stage, drill.mode)
        yield streams
    finally:
        if drill.mode and not baseline:
            await asyncio.to_thread(modes.strike, scene.lab, api)
        if drill.has_sessions:
            with contextlib.suppress(OvenbirdError):
                await asyncio.to_thread(sessions.strike, scene.lab, api)


async def _stock(
    scene: Scene, drill: Drill, seed: int, streams: tuple[Stream, ...], phases: Phases, progress: Progress
) -> RunRecord:
    """Run a drill on stock OVN: our agents are away meanwhile, whatever happens."""
    stock = Baseline(scene.lab)
    try:
        with phases.of("end our agents"):
            await asyncio.to_thread(stock.begin)
        record = await _measured(scene, drill, seed, phases, stock, streams, progress)
    finally:
        with phases.of("start our agents"):
            await asyncio.to_thread(lab_faults.heal, scene.lab)
            await asyncio.to_thread(stock.end)
            await scene.healthy()
    return replace(record, meta=replace(record.meta, phases_s=phases.rounded()))


def require(lab: Lab, drill: Drill, baseline: bool = False) -> None:
    """Raise `Refused` unless the lab has what the drill needs and this machine can inject its faults."""
    hosts = lab.spec.cluster().hosts
    wanted = {
        Role.CENTRAL: drill.needs.centrals,
        Role.GATEWAY: drill.needs.gateways,
        Role.COMPUTE: drill.needs.computes,
    }
    for role, count in wanted.items():
        have = sum(role in host.roles for host in hosts)
        if have < count:
            raise Refused(
                f"{drill.name} needs {count} {role.value} nodes, the lab has {have}",
                code="lab_too_small",
                subject=lab.name,
            )
    if baseline and not drill.has_baseline:
        raise Refused(
            f"{drill.name} has no baseline: stock OVN lacks what it breaks, or could show no other figure",
            code="no_baseline",
        )


class _Beside(contextlib.ExitStack):
    """What is declared for one run only."""

    async def __aenter__(self) -> contextlib.ExitStack:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await asyncio.to_thread(self.close)


async def _measured(
    scene: Scene,
    drill: Drill,
    seed: int,
    phases: Phases,
    stock: Baseline | None,
    streams: tuple[Stream, ...],
    progress: Progress,
) -> RunRecord:
    """Load the stage, enact the drill, and collect everything while the stage still stands."""
    lab, api, stage = scene.lab, scene.api, scene.standing
    started_ns = time.time_ns()
    async with _Beside() as stack, Observers(lab, stage) as observers:
        play = Enactment(lab, api, drill, random.Random(seed), progress, stage, observers, is_stock=stock is not None)
        more = await asyncio.to_thread(stack.enter_context, crowd(api, stage, drill.crowd))
        if drill.waits_for_calm and stock is None:
            with phases.of("calm down"):
                await calm(api, lab.spec.cluster().bfd.detect_ms)
        limit_ms = stock.detect_limit_ms if stock else detect_limit_ms(lab, drill, await _status(api))
        writes_per_s = 0.0 if stock else drill.writes_per_s
        with Load(lab, (*streams, *more), writes_per_s, interval_ms=drill.spacing_ms) as load:
            async with kept_deep(lab):
                meta = await _enacted(play, load, phases)
            with phases.of("stop the load"):
                records, writes = await asyncio.to_thread(load.stop)
            sent, acked = load.writer.counted() if load.writer else (None, None)
            play.note(LOAD_STOPPED, "load", "load stopped", meta.ended_ns)
        final = Final() if stock else await asyncio.to_thread(collect_final, lab, api, stage, phases=phases)
    timeline = sorted([*play.events, *observers.events], key=lambda event: event.at_ns)
    if writes:
        records = [*records, commits(writes, timeline)]
    meta = replace(
        meta,
        seed=seed,
        baseline=stock is not None,
        started_ns=started_ns,
        detect_limit_ms=limit_ms,
        writes_sent=sent,
        writes_acked=acked,
        computing=observers.computing.bursts(
            min((window.injected_ns for window in meta.windows), default=meta.ended_ns)
        ),
    )
    return RunRecord(meta=meta, timeline=timeline, streams=records, writes=writes, final=final)


async def _enacted(play: Enactment, load: Load, phases: Phases) -> Meta:
    """Warm up, carry out the script, wait for the return, let the load go on; what is known of the run then."""
    lab, drill = play.lab, play.drill
    with phases.of("warm up"):
        silent = await asyncio.to_thread(load.wait_flowing, timeout_s=FLOW_TIMEOUT_S)
        dropped = await asyncio.to_thread(queue_drops, lab)
        load_started_ns = time.time_ns()
        play.note(LOAD_STARTED, "load", "all streams flow" if not silent else f"silent: {', '.join(silent)}")
        # The phase: a fault must not always meet the same moment of a timer.
        await asyncio.gather(play.steady(), asyncio.sleep(WARM_UP_S + play.random.uniform(0, 1)))
    with phases.of("fault"):
        await play.enact(drill.steps)
    with phases.of("return"):
        back_ns = await play.returned()
    with phases.of("settle"):
        await asyncio.sleep(drill.settle_s)
    ended_ns = time.time_ns()
    return Meta(
        drill=drill.name,
        seed=0,
        lab=lab.name,
        baseline=False,
        started_ns=load_started_ns,
        load_started_ns=load_started_ns,
        ended_ns=ended_ns,
        windows=play.windows,
        back_ns=back_ns,
        announced=drill.announced,
        overlap_ms=drill.overlap_ms,
        queue_drops=since(dropped, await asyncio.to_thread(queue_drops, lab)),
    )


def detect_limit_ms(lab: Lab, drill: Drill, status: Mapping[str, Any]) -> float:
    """Return the time that whoever must notice needs by its timers; BFD's are slowed on busy hosts."""
    cluster = lab.spec.cluster()
    if drill.detector is Detector.BFD:
        return float(status.get("bfd_detect_ms") or cluster.bfd.detect_ms)
    return float(cluster.election_timer_ms + ELECTION_JITTER_MS) if drill.detector is Detector.ELECTION else 0.0


async def calm(api: Api, detect_ms: float) -> None:
    """Wait until BFD notices a loss within that time: a crowd that comes at once makes hosts busy, which slows it down.

    A lab that stays too busy is measured as it is: the record says how fast BFD was.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LONGEST_CALM_S):
            while float((await _status(api)).get("bfd_detect_ms") or math.inf) > detect_ms:
                await asyncio.sleep(CALM_EVERY_S)


async def _status(api: Api) -> Mapping[str, Any]:
    """Return the status; empty when nobody could be asked."""
    with contextlib.suppress(OvenbirdError):
        return await asyncio.to_thread(api.get, "/v1/status")
    return {}
