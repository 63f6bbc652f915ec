"""How long a change of gateways was felt, estimated from what the hosts concerned have seen of it.

Nobody measures the traffic itself. What is known: when the new gateway took the router and when the outside answered it
(one clock), how long before that its BFD session with the old one went down, when the old one let go (another host's
clock), and for how long the controller had been told that something was bad. Each estimate says what it was made from;
where evidence is missing there is none. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ovenbird.plan.failback import Cause
from ovenbird.plan.fitness import BRIDGE, NEXT_HOP, OVN_CONTROLLER, OVS_VSWITCHD, UPLINK
from ovenbird.plan.outside import TOLD_S, Learnt

PREEMPTED = "preempted"
PARTITION = "partition"
BY_BFD = frozenset({Cause.FAILOVER.value, Cause.UNPAIRED.value})
NEAR_MS = 15_000
"""A claim that is further than this from the change that SB told of is another one (clocks may differ)."""
NOTICED_MS = {UPLINK: 200, BRIDGE: 200, NEXT_HOP: 550, OVS_VSWITCHD: 650}
"""How long an agent needs to find something bad (its tries) and to tell (some 50 ms); others cost traffic nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What is known of one change. None: not known."""

    detected_ms: int | None = None
    """From the last sign that all was well until it was noticed, at most; None for what was planned."""
    outage_ms: int | None = None
    """From that sign (planned: from when the old gateway let go) until the outside answered the new one."""
    outside: str = ""
    """Whether the outside has learnt it: a value of `plan.outside.Learnt`; "" when the gateway's agent told nothing."""
    outside_ms: int | None = None
    """From the claim until it answered."""
    evidence: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as the API shows it."""
        return {
            "detected_ms": self.detected_ms,
            "outage_ms": self.outage_ms,
            "outside": self.outside,
            "outside_ms": self.outside_ms,
            "evidence": self.evidence,
        }


NO_ESTIMATE = Estimate()


def read(told: Mapping[str, Any]) -> Estimate:
    """Return what `to_json` has put into the database."""
    numbers = {
        name: value if isinstance(value := told.get(name), int) else None
        for name in ("detected_ms", "outage_ms", "outside_ms")
    }
    return Estimate(**numbers, outside=str(told.get("outside", "")), evidence=str(told.get("evidence", "")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the hosts concerned have told of one change."""

    at_ms: int
    """When the controller saw it in SB (unix milliseconds)."""
    before: str
    cause: str
    claim: Mapping[str, Any] | None
    """Of the new gateway (`plan.outside.Claim.to_json`)."""
    released_ms: int | None
    """When the old gateway let go, by its clock (unix milliseconds)."""
    detect_ms: int
    """What BFD needs to find a peer dead, at most."""
    bad: tuple[str, int] | None = None
    """What was bad of the old gateway, and for how many milliseconds the controller had been told so."""


def estimate(seen: Seen) -> Estimate:
    """Return what can be said."""
    claim = _as_retaken(seen)
    if claim is None or not _is_near(claim.get("taken_ms"), seen.at_ms):
        return NO_ESTIMATE
    outside, answered_ms = str(claim.get("state", "")), _number(claim.get("answered_ms"))
    known = Estimate(outside=outside, outside_ms=answered_ms)
    if not seen.before or seen.cause == PARTITION:
        return known
    detected_ms, unheard_ms, why = _until_claim(seen, claim)
    if unheard_ms is None:
        return Estimate(outside=outside, outside_ms=answered_ms, evidence=why)
    if answered_ms is None and outside != Learnt.UNKNOWN.value:
        return Estimate(detected_ms=detected_ms, outside=outside, evidence=f"{why}; the outside has not answered")
    told = f"answered {answered_ms} ms after the claim" if answered_ms is not None else "nobody outside could be asked"
    return Estimate(
        detected_ms=detected_ms,
        outage_ms=max(0, unheard_ms + (answered_ms or 0)),
        outside=outside,
        outside_ms=answered_ms,
        evidence=f"{why}; {told}",
    )


def _as_retaken(seen: Seen) -> Mapping[str, Any] | None:
    """Return the new gateway's claim; that of before as one of now, if it never let go.

    A router that goes back in the middle of a planned move finds its old gateway held, with its flows
    (`ovenbird.host.handover`). It says nothing of BFD then, and the outside was not asked again.
    """
    taken_ms = _number(seen.claim.get("taken_ms")) if seen.claim is not None else None
    if seen.claim is None or taken_ms is None or seen.cause in BY_BFD | {PREEMPTED, PARTITION}:
        return seen.claim
    if not NEAR_MS < seen.at_ms - taken_ms <= 1000 * TOLD_S:
        return seen.claim
    answered = {"answered_ms": 0} if seen.claim.get("state") == Learnt.ANSWERED.value else {}
    return {"taken_ms": seen.at_ms, "state": seen.claim.get("state", ""), **answered}


def _until_claim(seen: Seen, claim: Mapping[str, Any]) -> tuple[int | None, int | None, str]:
    """Return how long it took to notice, how long before the claim all was well, and what says so."""
    lost = claim.get("lost")
    down_ms = _number(lost.get(seen.before)) if isinstance(lost, Mapping) else None
    if seen.cause in BY_BFD:
        if down_ms is None:
            return None, None, f"BFD to {seen.before} was not seen to go down before the claim"
        why = f"BFD to {seen.before} down {down_ms} ms before the claim, which it needs up to {seen.detect_ms} ms for"
        return seen.detect_ms, seen.detect_ms + down_ms, why
    if seen.cause == Cause.UNFIT.value and seen.bad is not None and seen.bad[0] != OVN_CONTROLLER:
        what, told_ms = seen.bad
        noticed_ms = next((ms for name, ms in NOTICED_MS.items() if what.startswith(name)), 0)
        why = f"{what} of {seen.before} was told to be bad for {told_ms} ms, after some {noticed_ms} ms"
        return noticed_ms + told_ms, noticed_ms + told_ms, why
    taken_ms = int(claim["taken_ms"])
    if seen.released_ms is not None and _is_near(seen.released_ms, taken_ms):
        after_ms = taken_ms - seen.released_ms
        said = f"{after_ms} ms before" if after_ms >= 0 else f"{-after_ms} ms after"
        return None, after_ms, f"{seen.before} let go {said} the claim, if the clocks of both hosts agree"
    if seen.cause == PREEMPTED:
        return None, None, f"{seen.before} does not tell when it let go"
    return None, 0, f"{seen.before} does not tell when it let go: taken to be at the claim"


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _is_near(value: object, at_ms: int) -> bool:
    return isinstance(value, int) and abs(value - at_ms) <= NEAR_MS
