"""Runs one safe drill on the cluster that this host belongs to, and returns its record.

Before anything is done, the cluster must call itself healthy, every stream must be answered, and the fault must have no
reason against it. Nothing is declared or attached. This module must never judge.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ovenbird.drill.host_watch import LogTails
from ovenbird.drill.live.faults import ControllerRestart, GatewayDrain, LiveFault, Nothing, wait_for
from ovenbird.drill.live.host import LiveHost
from ovenbird.drill.load import Load, Stream
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
from ovenbird.drill.runner import WARM_UP_S
from ovenbird.drill.script import Drill
from ovenbird.drill.stage import Api
from ovenbird.model.errors import OvenbirdError, Refused

FLOW_TIMEOUT_S = 10.0
VERIFY_S = 10.0
WATCH_S = 0.2
REALISE_S = 30.0
AUDIT_S = 10.0

Progress = Callable[[str], None]


def make_fault(drill: Drill, host: LiveHost, api: Api, gateway: str) -> LiveFault:
    """Return the fault of a drill on a live cluster; raises `Refused` for a drill that is not safe there."""
    if drill.is_safe_live:
        if drill.name == "noop":
            return Nothing(host.name)
        if drill.name == "ovn-controller-restart":
            return ControllerRestart(host)
        if drill.name == "gateway-drain":
            return GatewayDrain(host, api, gateway)
    raise Refused(
        f"{drill.name} is not for a live cluster: {drill.what}",
        code="not_safe_live",
        subject=drill.name,
        hint="`ovenbird drill list` shows which drills are safe there; all run on a lab: `ovenbird lab up`",
    )


@dataclass(slots=True)
class _Watch:
    """What is seen of the cluster from here while the drill runs."""

    host: LiveHost
    api: Api
    events: list[Event] = field(default_factory=list)
    _active: dict[str, str] = field(default_factory=dict)

    async def run(self) -> None:
        """Watch until cancelled."""
        tails = LogTails(self.host)
        try:
            while True:
                await asyncio.to_thread(self._look)
                self.events += tails.poll()
                await asyncio.sleep(WATCH_S)
        finally:
            self.events += tails.poll()

    def _look(self) -> None:
        with contextlib.suppress(OvenbirdError):
            for router in self.api.get("/v1/gateways", timeout_s=2.0)["routers"]:
                name, active = str(router["name"]), str(router["active"] or "")
                if self._active.get(name) != active:
                    self._active[name] = active
                    what = f"{active} carries {name}" if active else f"nobody carries {name}"
                    self.events.append(_event(GATEWAY_CLAIMED, name, what, chassis=active))


async def run(
    host: LiveHost,
    api: Api,
    drill: Drill,
    streams: Sequence[Stream],
    *,
    gateway: str = "",
    seed: int,
    progress: Progress,
) -> RunRecord:
    """Run a drill once. Raises `Refused` with the reason when it must not be run now."""
    fault = make_fault(drill, host, api, gateway)
    await asyncio.to_thread(_check, api, fault)
    progress(f"this will be done: {fault.describe()}")
    chance, started_ns = random.Random(seed), time.time_ns()
    watch = _Watch(host, api)
    watching = asyncio.create_task(watch.run())
    try:
        with Load(host, streams, responds=False, is_first=False) as load:
            await asyncio.to_thread(_await_answers, load, drill)
            load_started_ns = time.time_ns()
            _tell(watch, progress, LOAD_STARTED, "load", "all streams flow")
            await asyncio.sleep(WARM_UP_S + chance.uniform(0, 1))
            window, back_ns = await _strike(fault, watch, progress)
            await asyncio.sleep(drill.settle_s)
            ended_ns = time.time_ns()
            records, _writes = await asyncio.to_thread(load.stop)
            _tell(watch, progress, LOAD_STOPPED, "load", "load stopped")
        final = await asyncio.to_thread(_final, api)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    meta = Meta(
        drill=drill.name,
        seed=seed,
        lab="",
        live=host.name,
        baseline=False,
        started_ns=started_ns,
        load_started_ns=load_started_ns,
        ended_ns=ended_ns,
        windows=[window],
        back_ns=back_ns,
        announced=drill.announced,
    )
    timeline = sorted(watch.events, key=lambda event: event.at_ns)
    return RunRecord(meta=meta, timeline=timeline, streams=records, final=final)


def _await_answers(load: Load, drill: Drill) -> None:
    """Raise `Refused` for streams that nobody answers."""
    if silent := load.wait_flowing(timeout_s=FLOW_TIMEOUT_S):
        raise Refused(
            f"no answer on {', '.join(silent)}: what is broken before cannot be measured",
            code="silent_streams",
            subject=drill.name,
            hint="name others: --stream WORKLOAD=ADDRESS",
        )


def _check(api: Api, fault: LiveFault) -> None:
    """Raise `Refused` unless all is well and nothing speaks against the fault."""
    status = api.get("/v1/status")
    if status["verdict"] != "healthy":
        raise Refused(
            f"the cluster is {status['verdict']}: a drill would add to that and prove nothing",
            code="not_healthy",
            evidence="; ".join(str(reason["message"]) for reason in status.get("reasons", ())[:5]),
            hint="`ovenbird status` shows what is wrong",
        )
    if reason := fault.refusal():
        raise Refused(f"this drill must not be run now: {reason}", code="unsafe_now", subject=fault.target)


async def _strike(fault: LiveFault, watch: _Watch, progress: Progress) -> tuple[Window, int | None]:
    """Inject, verify, hold, heal, and wait until all is as before; whatever happens, it is healed."""
    what, at_ns = fault.describe(), time.time_ns()
    try:
        await asyncio.to_thread(fault.inject)
        _tell(watch, progress, FAULT_INJECTED, fault.target, what)
        verified = await asyncio.to_thread(wait_for, fault.bites, VERIFY_S, 0.02)
        if verified:
            _tell(watch, progress, FAULT_VERIFIED, fault.target, f"verified: {what}")
        await asyncio.sleep(fault.hold_s)
    finally:
        await asyncio.to_thread(fault.heal)
    window = Window(fault=what, targets=[fault.target], injected_ns=at_ns, healed_ns=time.time_ns(), verified=verified)
    _tell(watch, progress, FAULT_HEALED, fault.target, f"healed: {what}")
    timeout_s = await asyncio.to_thread(fault.return_timeout_s)
    progress(f"waiting until all is as before, at most {timeout_s:.0f} s")
    back = await asyncio.to_thread(wait_for, fault.is_back, timeout_s)
    return window, time.time_ns() if back else None


def _tell(watch: _Watch, progress: Progress, kind: str, subject: str, what: str) -> None:
    watch.events.append(_event(kind, subject, what))
    progress(what)


def _event(kind: str, subject: str, what: str, **data: Any) -> Event:
    return Event(at_ns=time.time_ns(), kind=kind, subject=subject, what=what, data=data)


def _final(api: Api) -> Final:
    """Ask what can be asked of a whole cluster through the API alone."""
    final = Final()
    with contextlib.suppress(OvenbirdError):
        told = api.post("/v1/wait", {"revision": None, "timeout_s": REALISE_S}, timeout_s=REALISE_S + 5)
        final = replace(final, realised=str(told["state"]))
    with contextlib.suppress(OvenbirdError):
        final = replace(final, plan_changes=int(api.get("/v1/audit", timeout_s=AUDIT_S)["steps"]))
    return final
