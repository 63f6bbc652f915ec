"""Judges one run of a gateway drill from its records: pure, so that an old run can be judged again by a newer rule.

Validity comes first: a run whose load was too thin before the fault, or whose fault did not bite, is invalid and
gives no figure. This module must never read a clock or a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ovenbird.drill.outage import NS_PER_MS, Gap, Record, gaps, largest
from ovenbird.drill.result import DrillResult, Moment, Outcome

DELIVERY_FLOOR = 0.99
"""Share of requests that must be answered before the fault."""
BITE_MS = 50.0
"""A killed gateway that makes no stream wait this long was not carrying the traffic."""
SLACK_FACTOR, SLACK_MS = 1.5, 300.0
"""An outage passes up to detection * factor + slack: the slack is for scheduling on a small machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The facts of one run; times are unix nanoseconds."""

    name: str
    seed: int
    records: Sequence[Record]
    load_start_ns: int
    fault_ns: int
    back_ns: int | None
    """When the gateway was in service again; None if it was not in time."""
    end_ns: int
    fault_bit: bool
    """Whether the injector saw its fault take effect."""
    detect_limit_ms: float
    timeline: Sequence[Moment] = ()


def judge(run: Run) -> DrillResult:
    """Return the verdict and the figures of one run."""
    invalid = _invalid(run)
    noise_ms = max((gap.ms for record in run.records for gap in _before_fault(record, run)), default=0.0)
    outages = {record.name: _outage(record, run) for record in run.records}
    returns = {record.name: largest(record, outages[record.name].end_ns, run.end_ns) for record in run.records}
    worst = max(gap.ms for gap in outages.values())
    if not invalid and worst < BITE_MS:
        invalid = [f"no stream waited longer than {worst:.0f} ms: the fault did not bite"]
    failed = _failed(run, worst)
    return DrillResult(
        name=run.name,
        outcome=Outcome.INVALID if invalid else Outcome.FAIL if failed else Outcome.PASS,
        reasons=invalid or failed,
        seed=run.seed,
        outage_ms=None if invalid else worst,
        detect_limit_ms=run.detect_limit_ms,
        return_outage_ms=None if invalid or run.back_ns is None else max(gap.ms for gap in returns.values()),
        back_in_service_ms=None if run.back_ns is None else (run.back_ns - run.fault_ns) / NS_PER_MS,
        noise_ms=noise_ms,
        streams={
            record.name: {
                "outage_ms": outages[record.name].ms,
                "return_outage_ms": returns[record.name].ms,
                "sent": len(record.sent),
                "lost": record.lost(),
            }
            for record in run.records
        },
        timeline=sorted([*run.timeline, *_traffic(run, outages)], key=lambda moment: moment.at_ms),
    )


def _invalid(run: Run) -> list[str]:
    reasons = [] if run.fault_bit else ["the injector could not verify its fault"]
    for record in run.records:
        ratio = record.delivered_ratio(run.load_start_ns, run.fault_ns)
        if ratio < DELIVERY_FLOOR:
            reasons.append(
                f"{record.name}: only {ratio:.1%} of requests were answered before the fault, "
                f"the floor is {DELIVERY_FLOOR:.0%}"
            )
    return reasons


def _failed(run: Run, worst_ms: float) -> list[str]:
    limit_ms = run.detect_limit_ms * SLACK_FACTOR + SLACK_MS
    reasons = []
    if worst_ms > limit_ms:
        reasons.append(f"the outage of {worst_ms:.0f} ms is over the limit of {limit_ms:.0f} ms")
    if run.back_ns is None:
        reasons.append("the gateway did not come back into service in time")
    return reasons


def _before_fault(record: Record, run: Run) -> list[Gap]:
    """Return the gaps that ended before the fault; the last one of the window reaches over it."""
    return gaps(record, run.load_start_ns, run.fault_ns)[:-1]


def _outage(record: Record, run: Run) -> Gap:
    """Return the largest gap that began before the loss could be known; what comes later is the return's."""
    return largest(record, run.fault_ns, run.fault_ns + int(run.detect_limit_ms * NS_PER_MS))


def _traffic(run: Run, outages: dict[str, Gap]) -> list[Moment]:
    moments = []
    for name, gap in outages.items():
        if gap.ms >= BITE_MS:
            moments.append(Moment((gap.start_ns - run.fault_ns) / NS_PER_MS, f"{name}: last packet before the gap"))
            moments.append(
                Moment((gap.end_ns - run.fault_ns) / NS_PER_MS, f"{name}: first packet after {gap.ms:.0f} ms")
            )
    return moments
