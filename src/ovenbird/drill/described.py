"""A drill of the catalogue told as data and in words: what it needs, its load, what it breaks, and what must hold.

Pure values in and out. This module must never say anything that the catalogue and the judge do not go by.
"""

from __future__ import annotations

from typing import Any

from ovenbird.drill.judge import DELIVERY_FLOOR, WRITE_FLOOR, Expect
from ovenbird.drill.script import Count, Detector, Drill, Each, Heal, Hold, Inject, Ready, Return, Step

RETURNS = {
    Return.NONE: "nothing is to come back",
    Return.HEALTHY: "what was broken runs again, and the cluster is healthy",
    Return.GATEWAY: "the router is home again, on the gateway that was hit",
}


def described(drill: Drill) -> dict[str, Any]:
    """Return a drill as `drill list -o json` has it; `_ms` and `_s` are units, null means that nothing is demanded."""
    return {
        "name": drill.name,
        "what": drill.what,
        "needs": {
            "centrals": drill.needs.centrals,
            "gateways": drill.needs.gateways,
            "computes": drill.needs.computes,
        },
        "load": {
            "packets_every_ms": drill.spacing_ms,
            "streams": _streams(drill),
            "answered_floor": DELIVERY_FLOOR,
            "writes_per_s": drill.writes_per_s,
            "acknowledged_floor": WRITE_FLOOR,
            "reads_per_s": drill.writes_per_s,
            "more_routers": drill.crowd,
        },
        "steps": [_step(step) for step in drill.steps],
        "returns": RETURNS[drill.returns],
        "return_timeout_s": drill.return_timeout_s,
        "detector": None if drill.detector is Detector.NONE else drill.detector.value,
        "expect": _expected(drill.expect, drill.overlap_ms),
        "safe_live": drill.is_safe_live,
        "baseline": drill.has_baseline,
        "expected_failure": drill.expected_failure,
    }


def in_words(drill: Drill) -> str:
    """Return the same as lines for people."""
    told = described(drill)
    load, expect = told["load"], told["expect"]
    needs = ", ".join(f"{count} {role}" for role, count in told["needs"].items())
    writes = f"{load['writes_per_s']:g} writes and {load['reads_per_s']:g} reads per second"
    floors = (
        f"{load['answered_floor']:.0%} of packets answered, {load['acknowledged_floor']:.0%} of writes acknowledged"
    )
    limits = [f"{name} {_limit(limit)}" for name, limit in expect["streams_ms"].items()]
    limits.append(f"every other stream {_limit(expect['other_streams_ms'])}")
    limits.append(f"writes {_limit(expect['writes_ms'])}")
    if expect["return_ms"] is not None:
        limits.append(f"the way back {_limit(expect['return_ms'])}")
    lines = [
        f"{drill.name}: {drill.what}",
        f"  needs        {needs}",
        f"  load         {load['streams']}, a packet every {load['packets_every_ms']:g} ms each; {writes}",
        f"  floor        {floors}, before the fault",
        f"  does         {'; '.join(told['steps'])}",
        f"  is over when {told['returns']}; at most {drill.return_timeout_s:g} s",
        f"  limits       {', '.join(limits)}",
        f"  invariants   {', '.join(expect['invariants'])}",
        f"  safe live    {'yes' if drill.is_safe_live else 'no'}",
        f"  baseline     {'yes' if drill.has_baseline else 'no'}",
    ]
    if drill.expected_failure:
        lines.append(f"  fails today  {drill.expected_failure}")
    return "\n".join(lines)


def _streams(drill: Drill) -> str:
    if drill.is_idle:
        return "the router's address from outside"
    if drill.has_sessions:
        return "one long TCP connection over each way through a gateway"
    usual = "ICMP, UDP and TCP among workloads, to the outside and from it"
    spread = f", 16 flows of a router in mode {drill.mode}" if drill.mode else ""
    return usual + spread + (", the addresses of 8 more routers" if drill.crowd else "")


def _step(step: Step) -> str:
    match step:
        case Inject(kind=kind, target=target, params=params):
            return f"{kind} on {target}" + "".join(f" {key}={value}" for key, value in params.items())
        case Hold(seconds=seconds):
            return f"leave it so for {seconds:g} s"
        case Heal():
            return "heal"
        case Ready(timeout_s=timeout_s):
            return f"wait until the cluster is healthy, at most {timeout_s:g} s"
        case Count():
            return "count the routers of each gateway"
        case Each(target=target, steps=steps):
            return f"for each of {target}, in random order: {', '.join(_step(inner) for inner in steps)}"


def _expected(expect: Expect, overlap_ms: float | None) -> dict[str, Any]:
    return {
        "streams_ms": dict(expect.streams),
        "other_streams_ms": expect.others_ms,
        "writes_ms": expect.write_outage_ms,
        "return_ms": expect.return_outage_ms,
        "two_gateways_answer_ms": overlap_ms,
        "felt_by": expect.bite.value,
        "router_leaves": expect.moves,
        "succeeded": list(expect.succeeded),
        "sessions_survive": expect.sessions_survive,
        "invariants": list(expect.invariants),
    }


def _limit(limit_ms: float | None) -> str:
    return "any" if limit_ms is None else f"{limit_ms:g} ms"
