"""Runs one drill on a lab: stage, load, faults by the script, return, and the record of all of it.

The runner decides nothing about the outcome: it records, and `judge` concludes. Nothing may stay broken when it ends,
however it ends: faults are in the lab's state file with a time limit, and every run first heals what an earlier one
left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ovenbird.drill import sessions
from ovenbird.drill import stage as stages
from ovenbird.drill.baseline import Baseline
from ovenbird.drill.commits import commits
from ovenbird.drill.fault import Fault, make_fault
from ovenbird.drill.final import collect_final, residue
from ovenbird.drill.lab_api import LabApi
from ovenbird.drill.load import Load, Stream
from ovenbird.drill.observers import Observers
from ovenbird.drill.record import (
    FAULT_HEALED,
    FAULT_INJECTED,
    FAULT_VERIFIED,
    GATEWAY_CLAIMED,
    LOAD_STARTED,
    LOAD_STOPPED,
    Event,
    Final,
    Meta,
    RunRecord,
    Window,
)
from ovenbird.drill.script import Detector, Drill, Each, Heal, Hold, Inject, Ready, Return
from ovenbird.drill.stage import Api, Stage
from ovenbird.drill.targets import resolve
from ovenbird.lab import faults as lab_faults
from ovenbird.lab.lab import Lab
from ovenbird.model.cluster import Role
from ovenbird.model.errors import OvenbirdError, Refused, Timeout

WARM_UP_S = 2.0
FLOW_TIMEOUT_S = 30.0
STEADY_S = 1.5
"""The active gateway must have stayed the same for this long before it is broken."""
POLL_S = 0.1
NOOP = "noop"
"""The fault that does nothing; it has a window all the same, so that its figures mean the same as the others'."""
ELECTION_JITTER_MS = 1000
"""ovsdb-server waits up to this much longer than its election timer before it stands (ovsdb-server(1))."""

Progress = Callable[[str], None]


@dataclass(slots=True)
class _Run:
    """What is gathered while a drill runs."""

    lab: Lab
    api: Api
    drill: Drill
    random: random.Random
    progress: Progress
    stage: Stage
    observers: Observers
    events: list[Event] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    active: list[tuple[Fault, Window]] = field(default_factory=list)
    gateway_before: str = ""

    def note(self, kind: str, subject: str, what: str, at_ns: int | None = None, **data: Any) -> None:
        """Record an event and tell it."""
        self.events.append(Event(at_ns=at_ns or time.time_ns(), kind=kind, subject=subject, what=what, data=data))
        self.progress(what)

    @property
    def active_gateway(self) -> str:
        """Chassis that carries the stage's router now, as the observers saw it."""
        claims = [
            event
            for event in self.observers.events
            if event.kind == GATEWAY_CLAIMED and event.subject == self.stage.gateway_port
        ]
        return str(claims[-1].data.get("chassis", "")) if claims else ""


async def run(
    lab: Lab, drill: Drill, *, seed: int | None = None, baseline: bool = False, progress: Progress
) -> RunRecord:
    """Run a drill once and return its record. Raises `Refused` when the lab cannot carry it."""
    require(lab, drill, baseline)
    api = LabApi(lab)
    chosen = random.randrange(2**31) if seed is None else seed
    await asyncio.to_thread(heal_leftovers, lab, api, progress)
    progress(f"{drill.name}: seed {chosen}; setting the stage")
    stock = Baseline(lab) if baseline else None
    try:
        await _ready(lab, api, 90.0)
        stage, streams = await asyncio.to_thread(_prepare, lab, api, drill)
        if stock:
            await asyncio.to_thread(stock.begin)
        record = await _measured(lab, api, drill, chosen, stage, streams, stock, progress)
        if stock:
            return record
        await asyncio.to_thread(_strike, lab, api, progress)
        left = await asyncio.to_thread(residue, lab, api)
        return replace(record, final=replace(record.final, residue=left))
    finally:
        await asyncio.to_thread(lab_faults.heal, lab)
        if stock:
            await asyncio.to_thread(stock.end)
            await _ready(lab, api, 90.0)
        with contextlib.suppress(OvenbirdError):
            await asyncio.to_thread(stages.strike, api)
            await asyncio.to_thread(sessions.strike_route, lab)


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
        raise Refused(f"{drill.name} has no baseline: it breaks what stock OVN does not have", code="no_baseline")


def heal_leftovers(lab: Lab, api: Api, progress: Progress) -> None:
    """Heal what an earlier run left broken, and take its stage away if that can be reached."""
    for fault in lab_faults.heal(lab):
        progress(f"healed what an earlier run left: {fault.describe()}")
    lab.up()
    with contextlib.suppress(OvenbirdError):
        stages.strike(api)


def _prepare(lab: Lab, api: Api, drill: Drill) -> tuple[Stage, tuple[Stream, ...]]:
    computes = [host.name for host in lab.spec.cluster().hosts if Role.COMPUTE in host.roles]
    outside = str(lab.spec.outside[0].address).split("/", 1)[0]
    stage = stages.prepare(api, computes, outside=outside, physnet="ext")
    return stage, sessions.prepare(lab, api, stage) if drill.has_sessions else stages.streams(stage)


def _strike(lab: Lab, api: Api, progress: Progress) -> None:
    progress("taking the stage away")
    stages.strike(api)
    sessions.strike_route(lab)


async def _measured(
    lab: Lab,
    api: Api,
    drill: Drill,
    seed: int,
    stage: Stage,
    streams: tuple[Stream, ...],
    stock: Baseline | None,
    progress: Progress,
) -> RunRecord:
    started_ns = time.time_ns()
    writes_per_s = 0.0 if stock else drill.writes_per_s
    async with Observers(lab, stage) as observers:
        run_ = _Run(lab, api, drill, random.Random(seed), progress, stage, observers)
        await _steady(run_)
        with Load(lab, streams, writes_per_s) as load:
            silent = await asyncio.to_thread(load.wait_flowing, timeout_s=FLOW_TIMEOUT_S)
            load_started_ns = time.time_ns()
            run_.note(LOAD_STARTED, "load", "all streams flow" if not silent else f"silent: {', '.join(silent)}")
            # The phase: a fault must not always meet the same moment of a timer.
            await asyncio.sleep(WARM_UP_S + run_.random.uniform(0, 1))
            await _script(run_, drill.steps)
            back_ns = await _returned(run_)
            await asyncio.sleep(drill.settle_s)
            ended_ns = time.time_ns()
            records, writes = await asyncio.to_thread(load.stop)
            run_.note(LOAD_STOPPED, "load", "load stopped", ended_ns)
        final = Final() if stock else await asyncio.to_thread(collect_final, lab, api, stage)
    timeline = sorted([*run_.events, *observers.events], key=lambda event: event.at_ns)
    if writes:
        records = [*records, commits(writes, timeline)]
    return RunRecord(
        meta=Meta(
            drill=drill.name,
            seed=seed,
            lab=lab.name,
            baseline=stock is not None,
            started_ns=started_ns,
            load_started_ns=load_started_ns,
            ended_ns=ended_ns,
            windows=run_.windows,
            back_ns=back_ns,
            detect_limit_ms=stock.detect_limit_ms if stock else detect_limit_ms(lab, drill),
            announced=drill.announced,
        ),
        timeline=timeline,
        streams=records,
        writes=writes,
        final=final,
    )


def detect_limit_ms(lab: Lab, drill: Drill) -> float:
    """Return the time that whoever must notice needs by its timers."""
    cluster = lab.spec.cluster()
    if drill.detector is Detector.BFD:
        return float(cluster.bfd.detect_ms)
    return float(cluster.election_timer_ms + ELECTION_JITTER_MS) if drill.detector is Detector.ELECTION else 0.0


async def _steady(run_: _Run) -> None:
    """Wait until the gateway that carries the stage's router has been the same for a while."""
    deadline_s = time.monotonic() + FLOW_TIMEOUT_S
    since_s, last = time.monotonic(), ""
    while not last or time.monotonic() - since_s < STEADY_S:
        if (now := run_.active_gateway) != last:
            since_s, last = time.monotonic(), now
        if time.monotonic() > deadline_s:
            raise Timeout(f"no gateway keeps {run_.stage.gateway_port}", subject=run_.stage.gateway_port, evidence=last)
        await asyncio.sleep(POLL_S)
    run_.gateway_before = last


async def _script(run_: _Run, steps: tuple[Any, ...], it: str = "") -> None:
    for step in steps:
        match step:
            case Inject():
                await _inject(run_, step, it)
            case Hold(seconds=seconds):
                await asyncio.sleep(seconds)
            case Heal():
                await _heal(run_)
            case Ready(timeout_s=timeout_s):
                await _ready(run_.lab, run_.api, timeout_s)
            case Each(target=target, steps=inner):
                for node in await _targets(run_, target, ""):
                    await _script(run_, inner, node)


async def _targets(run_: _Run, target: str, it: str) -> tuple[str, ...]:
    status: Mapping[str, Any] = {}
    with contextlib.suppress(OvenbirdError):
        status = await asyncio.to_thread(run_.api.get, "/v1/status")
    hosts = run_.lab.spec.cluster().hosts
    return resolve(target, hosts, status, active_gateway=run_.active_gateway, random=run_.random, it=it)


async def _inject(run_: _Run, step: Inject, it: str) -> None:
    nodes = await _targets(run_, step.target, it)
    fault = make_fault(run_.lab, step.kind, nodes, **step.params)
    what = fault.describe()
    await asyncio.to_thread(fault.inject)
    at_ns = fault.injected_ns or time.time_ns()
    run_.note(FAULT_INJECTED, ", ".join(nodes), f"{what}", at_ns)
    verified = True
    try:
        await asyncio.to_thread(fault.verify_injected)
        run_.note(FAULT_VERIFIED, ", ".join(nodes), f"verified: {what}")
    except OvenbirdError as error:
        verified = False
        run_.progress(f"{what}: {error.message}")
    window = Window(fault=what, targets=nodes, injected_ns=at_ns, healed_ns=None, verified=verified)
    run_.windows.append(window)
    if fault.stays or step.kind == NOOP:
        run_.active.append((fault, window))


async def _heal(run_: _Run) -> None:
    for fault, window in reversed(run_.active):
        await asyncio.to_thread(fault.heal)
        at_ns = time.time_ns()
        place = run_.windows.index(window)
        run_.windows[place] = replace(window, healed_ns=at_ns)
        run_.note(FAULT_HEALED, ", ".join(window.targets), f"healed: {window.fault}", at_ns)
    run_.active.clear()


async def _returned(run_: _Run) -> int | None:
    """Wait until what was broken is back in service; return when, or None if it is not in time."""
    await _heal(run_)
    try:
        async with asyncio.timeout(run_.drill.return_timeout_s):
            if run_.drill.returns is Return.GATEWAY:
                # What left may not have left yet as seen from here: wait for it to have been elsewhere, if it goes.
                while run_.active_gateway != run_.gateway_before or not _moved(run_):
                    await asyncio.sleep(POLL_S)
            elif run_.drill.returns is Return.HEALTHY:
                await _ready(run_.lab, run_.api, run_.drill.return_timeout_s)
    except (TimeoutError, Timeout):
        return None
    return time.time_ns()


def _moved(run_: _Run) -> bool:
    fault_ns = min((window.injected_ns for window in run_.windows), default=0)
    return any(
        event.kind == GATEWAY_CLAIMED and event.subject == run_.stage.gateway_port and event.at_ns > fault_ns
        for event in run_.observers.events
    )


async def _ready(lab: Lab, api: Api, timeout_s: float) -> None:
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
