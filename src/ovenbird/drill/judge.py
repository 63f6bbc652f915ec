"""Judges one run from its record: pure, so that an old run can be judged again by a newer rule.

Validity comes first: a run whose load was too thin before the fault, or whose fault did not bite, is invalid: it proves
nothing and gives no figure. Then the limits, then the invariants. This module must never read a clock or a file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from ovenbird.drill.bite import unmoved, unsucceeded
from ovenbird.drill.integrity import flaws
from ovenbird.drill.invariants import ALWAYS, EAST_WEST, Violation, check, lost_in_queues, unproven
from ovenbird.drill.largest_gaps import before_fault, decisive, known_ns, outage_gap, return_gap, write_gap
from ovenbird.drill.outage import DATAGRAMS, NS_PER_MS, SESSIONS, Gap, Record, largest, loss
from ovenbird.drill.record import RunRecord, Write
from ovenbird.drill.spread import spreading
from ovenbird.drill.standstill import standstill, stolen

DELIVERY_FLOOR = 0.99
"""Share of requests that must be answered before the fault."""
IN_FLIGHT_MS = 150.0
"""Requests of the last moment before the fault may be lost to it: they, or their answers, were on their way."""
WRITE_FLOOR = 0.5
"""Share of the wanted writes that must be acknowledged before the fault."""
BITE_MS = 50.0
"""A fault that makes nothing wait this much longer than the machine's noise was not felt."""
WRITE_SPACINGS = 2
"""A gap between writes that is not longer than this many of their usual spacings was not felt, either."""
QUIET_MS = 150.0
"""What a stream that must lose nothing may wait all the same: scheduling on a small, busy machine."""


NOISE_MS = 250.0
"""A machine that delays packets this long with nothing broken is too busy for figures."""
FIGURES = (
    "outage_ms",
    "path_outage_ms",
    "tcp_outage_ms",
    "write_outage_ms",
    "nb_outage_ms",
    "return_outage_ms",
    "path_return_ms",
    "lost_ms",
    "lost_return_ms",
    "back_in_service_ms",
    "noise_ms",
)
"""The figures of a run, by their field of `Figures`."""
PACKETS = DATAGRAMS | SESSIONS
"""Kinds of stream that carry a workload's packets; reads of the API and commits in NB have figures of their own."""


class Outcome(Enum):
    """The verdict of one run."""

    PASS = "pass"
    FAIL = "fail"
    INVALID = "invalid"


class Bite(Enum):
    """Where a fault must be felt for the run to prove anything; that it took effect is verified by its injector."""

    NOWHERE = "nowhere"
    STREAMS = "streams"
    WRITES = "writes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expect:
    """What must hold in a drill."""

    streams: Mapping[str, float] = field(default_factory=dict)
    """Stream -> largest outage allowed, milliseconds. A name ending in * stands for all that begin so."""
    others_ms: float | None = QUIET_MS
    """Limit of every other stream of packets; None: not limited."""
    write_outage_ms: float | None = None
    """Longest time without an acknowledged write; None: not limited."""
    return_outage_ms: float | None = None
    spared_ms: float | None = None
    """Limit of the flows that are spread over gateways and were not on the one that was hit; some must have been there,
    and some not. None: no such flows."""
    bite: Bite = Bite.NOWHERE
    sessions_survive: bool = False
    """Whether every TCP connection must live through the run, but those that are in `breaking`."""
    unfelt: frozenset[str] | None = None
    """Streams that need not feel the fault, while every other must for the run to prove anything; None: any may."""
    breaking: frozenset[str] = frozenset()
    """TCP connections that are stated not to survive: no limit holds for them, and no figure of the run is theirs."""
    moves: bool = False
    """Whether the fault must hit the gateway that carries the router, and the router leave it."""
    succeeded: tuple[str, ...] = ()
    """Who must be seen to be succeeded: "controller", or the leader of a database ("nb", "sb", "ovenbird")."""
    must_return: bool = True
    invariants: tuple[str, ...] = ALWAYS


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The figures of one run; None: not measured, or worth nothing because the run is invalid."""

    outage_ms: float | None
    """Largest gap in any stream of packets."""
    write_outage_ms: float | None
    """Longest time without an acknowledged write."""
    return_outage_ms: float | None
    back_in_service_ms: float | None
    noise_ms: float
    """Largest gap in any stream of packets before the fault: what this machine does when nothing is broken."""
    nb_outage_ms: float | None = None
    """Longest time in which no write reached NB."""
    path_outage_ms: float | None = None
    """Largest gap in any stream of ICMP or UDP: for how long the path was gone."""
    tcp_outage_ms: float | None = None
    """Largest gap in any TCP connection: it goes on with its next retransmission after the path is back."""
    path_return_ms: float | None = None
    """As `return_outage_ms`, of ICMP and UDP alone."""
    lost_ms: float | None = None
    """For how long all requests of an ICMP or UDP stream were lost, of the worst one: what was late was not."""
    lost_return_ms: float | None = None
    """The same, after the outage was over."""
    streams: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Each stream of packets by itself."""
    calls: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Reads of the API and commits in NB, in the same form."""
    spreading: Mapping[str, float] | None = None
    """How the fault met flows that are spread over gateways (`spread.Spreading`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a run proves."""

    outcome: Outcome
    reasons: tuple[str, ...]
    figures: Figures
    violations: tuple[Violation, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as `verdict.json` holds it; milliseconds have one decimal."""
        figures = self.figures
        return {
            "outcome": self.outcome.value,
            "reasons": list(self.reasons),
            "outage_ms": rounded(figures.outage_ms),
            "path_outage_ms": rounded(figures.path_outage_ms),
            "tcp_outage_ms": rounded(figures.tcp_outage_ms),
            "write_outage_ms": rounded(figures.write_outage_ms),
            "nb_outage_ms": rounded(figures.nb_outage_ms),
            "return_outage_ms": rounded(figures.return_outage_ms),
            "path_return_ms": rounded(figures.path_return_ms),
            "lost_ms": rounded(figures.lost_ms),
            "lost_return_ms": rounded(figures.lost_return_ms),
            "back_in_service_ms": rounded(figures.back_in_service_ms),
            "noise_ms": rounded(figures.noise_ms),
            "spreading": dict(figures.spreading) if figures.spreading else None,
            "streams": _rounded(figures.streams),
            "calls": _rounded(figures.calls),
            "violations": [
                {"invariant": one.invariant, "at_ns": one.at_ns, "what": one.what, "evidence": one.evidence}
                for one in self.violations
            ],
        }


def _rounded(streams: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    return {name: {key: rounded(value) for key, value in one.items()} for name, one in streams.items()}


def rounded(value: float | None) -> float | None:
    """Return milliseconds with one decimal."""
    return None if value is None else round(value, 1)


def judge(record: RunRecord, expect: Expect) -> Verdict:
    """Return the verdict and the figures of one run."""
    counted = [stream for stream in _packets(record) if stream.name not in expect.breaking]
    outages = {stream.name: outage_gap(stream, record) for stream in counted}
    invalid = _invalid(record, expect, outages, _write_outage_ms(record)) + stolen(record, decisive(record, counted))
    if invalid:
        return Verdict(outcome=Outcome.INVALID, reasons=tuple(invalid), figures=_alone_figures(record))
    met = spreading({name: gap.ms for name, gap in outages.items()}, record.meta.detect_limit_ms)
    figures = replace(_whole_figures(record, counted), spreading=met.to_json() if met is not None else None)
    violations = () if record.meta.baseline else check(record, expect.invariants)
    over: tuple[str, ...] = ()
    if not record.meta.baseline:  # stock OVN is measured, not judged
        unspared = met.wrong(expect.spared_ms) if met is not None and expect.spared_ms is not None else ()
        over = (*unspared, *_over_limits(record, expect, figures), *_broken(record, expect))
    failed = [*over, *(f"{one.invariant}: {one.what}" for one in violations)]
    outcome = Outcome.FAIL if failed else Outcome.PASS
    return Verdict(outcome=outcome, reasons=tuple(failed), figures=figures, violations=violations)


def _packets(record: RunRecord) -> list[Record]:
    return [stream for stream in record.streams if stream.kind in PACKETS]


def _alone_figures(record: RunRecord) -> Figures:
    """Return each stream's own figures, and what is known of a run that proves nothing."""
    return Figures(
        outage_ms=None,
        write_outage_ms=None,
        return_outage_ms=None,
        back_in_service_ms=_since_fault_ms(record, record.meta.back_ns),
        noise_ms=_noise_ms(record),
        streams={stream.name: _alone(stream, record) for stream in _packets(record)},
        calls={stream.name: _alone(stream, record) for stream in record.streams if stream.kind not in PACKETS},
    )


def _whole_figures(record: RunRecord, counted: Sequence[Record]) -> Figures:
    """Return the figures of a valid run; those of all streams together are of the `counted` ones."""
    figures = _alone_figures(record)
    sessions = {stream.name for stream in counted if stream.kind in SESSIONS}
    datagrams = {stream.name for stream in counted} - sessions
    came_back = record.meta.back_ns is not None
    nb = next((stream for stream in record.streams if stream.kind == "nb"), None)

    def worst(names: Set[str], figure: str = "outage_ms") -> float | None:
        return max((figures.streams[name][figure] for name in names), default=None)

    return replace(
        figures,
        outage_ms=worst(sessions | datagrams),
        path_outage_ms=worst(datagrams),
        tcp_outage_ms=worst(sessions),
        write_outage_ms=_write_outage_ms(record),
        nb_outage_ms=None if nb is None else largest(nb, record.fault_ns, record.meta.ended_ns).ms,
        return_outage_ms=worst(sessions | datagrams, "return_outage_ms") if came_back else None,
        path_return_ms=worst(datagrams, "return_outage_ms") if came_back else None,
        lost_ms=worst(datagrams, "lost_ms"),
        lost_return_ms=worst(datagrams, "lost_return_ms") if came_back else None,
    )


def _broken(record: RunRecord, expect: Expect) -> list[str]:
    """Return the sessions that ended although they were stated to survive."""
    if not expect.sessions_survive:
        return []
    sessions = [one for one in record.streams if one.kind in SESSIONS and one.name not in expect.breaking]
    return [f"{one.name}: the connection broke: {one.breaks[0][1]}" for one in sessions if not one.survived]


def _alone(stream: Record, record: RunRecord) -> dict[str, float]:
    alone = {"breaks": len(stream.breaks)} if stream.kind in SESSIONS else {}
    outage = outage_gap(stream, record)
    over_ns = min(max(outage.end_ns, known_ns(record)), record.meta.ended_ns)
    return alone | {
        "outage_ms": outage.ms,
        "lost_ms": loss(stream, record.fault_ns, over_ns).ms,
        "lost_return_ms": loss(stream, over_ns, record.meta.ended_ns).ms,
        "return_outage_ms": return_gap(stream, record).ms,
        "sent": len(stream.sent),
        "lost": stream.lost(),
    }


def _since_fault_ms(record: RunRecord, at_ns: int | None) -> float | None:
    return None if at_ns is None else (at_ns - record.fault_ns) / NS_PER_MS


def _noise_ms(record: RunRecord) -> float:
    return max((gap.ms for stream in _packets(record) for gap in before_fault(stream, record)), default=0.0)


def _write_outage_ms(record: RunRecord) -> float | None:
    gap = write_gap(record)
    return None if gap is None else gap.ms


def _invalid(record: RunRecord, expect: Expect, outages: Mapping[str, Gap], write_outage_ms: float | None) -> list[str]:
    reasons = [
        f"{window.fault} on {', '.join(window.targets)}: the injector could not verify its effect"
        for window in record.meta.windows
        if not window.verified
    ]
    reasons += [*flaws(record), *standstill(record), *_too_thin(record)]
    reasons += _unfelt(record, expect, outages, write_outage_ms)
    if not record.meta.baseline:  # of stock OVN nothing but packets is looked at
        reasons += unmoved(record) if expect.moves else []
        reasons += unsucceeded(record, expect.succeeded)
        reasons += [f"the record holds no evidence for {name}" for name in unproven(record, expect.invariants)]
    if EAST_WEST in expect.invariants and (dropped := lost_in_queues(record)):
        reasons.append(f"{dropped}: this machine is too busy to tell what the fault cost")
    return reasons


def _too_thin(record: RunRecord) -> list[str]:
    """Return what was wrong with the load, or the machine, before anything was broken."""
    reasons = []
    if (noise_ms := _noise_ms(record)) > NOISE_MS:
        reasons.append(f"packets waited up to {noise_ms:.0f} ms with nothing broken: this machine is too busy")
    for stream in record.streams:
        if stream.kind not in PACKETS:
            continue
        ratio = stream.delivered_ratio(record.meta.load_started_ns, record.fault_ns - int(IN_FLIGHT_MS * NS_PER_MS))
        if ratio < DELIVERY_FLOOR:
            floor = f"the floor is {DELIVERY_FLOOR:.0%}"
            reasons.append(f"{stream.name}: {ratio:.1%} of requests were answered before the fault, {floor}")
    early = _early(record)
    if record.writes and _acked(early) < WRITE_FLOOR * max(1, len(early)):
        reasons.append(f"{_acked(early)} of {len(early)} writes were acknowledged before the fault")
    return reasons


def _unfelt(record: RunRecord, expect: Expect, outages: Mapping[str, Gap], write_outage_ms: float | None) -> list[str]:
    """Return where a fault that should have been felt was not."""
    worst_ms, noise_ms = max((gap.ms for gap in outages.values()), default=0.0), _noise_ms(record)
    spared = {name for name, gap in outages.items() if gap.ms < noise_ms + BITE_MS}
    if expect.unfelt is not None and (safe := sorted(spared - expect.unfelt)):
        return [f"the fault was not felt by {', '.join(safe)}"]
    # A router that was seen to leave who was hit is proof enough: it may have left too soon for any stream to feel it.
    seen = expect.moves and not record.meta.baseline
    if expect.bite is Bite.STREAMS and not seen and worst_ms < noise_ms + BITE_MS:
        noise = f"{noise_ms:.0f} ms with nothing broken"
        return [f"no stream waited longer than {worst_ms:.0f} ms, and {noise}: it was not felt"]
    least_ms = BITE_MS + WRITE_SPACINGS * _spacing_ms(_early(record))
    if expect.bite is Bite.WRITES and (write_outage_ms or 0.0) < least_ms:
        return [f"no write waited longer than {write_outage_ms or 0.0:.0f} ms: the fault was not felt"]
    return []


def _early(record: RunRecord) -> list[Write]:
    return [write for write in record.writes if write.sent_ns < record.fault_ns]


def _spacing_ms(writes: Sequence[Write]) -> float:
    return (writes[-1].sent_ns - writes[0].sent_ns) / (len(writes) - 1) / NS_PER_MS if len(writes) > 1 else 0.0


def _acked(writes: Sequence[Write]) -> int:
    return sum(write.outcome == "acked" for write in writes)


def _over_limits(record: RunRecord, expect: Expect, figures: Figures) -> list[str]:
    reasons = []
    limits_ms = {name: stream_limit_ms(expect, name) for name in figures.streams}
    limits_ms |= {name: expect.streams.get(name) for name in figures.calls}
    for name, one in (*figures.streams.items(), *figures.calls.items()):
        limit_ms = limits_ms[name]
        worst_ms = max(one["outage_ms"], 0.0 if expect.return_outage_ms is not None else one["return_outage_ms"])
        if limit_ms is not None and worst_ms > limit_ms:
            reasons.append(f"{name}: an outage of {worst_ms:.0f} ms, the limit is {limit_ms:.0f} ms")
    pairs = (
        ("writes", figures.write_outage_ms, expect.write_outage_ms),
        ("return", figures.return_outage_ms, expect.return_outage_ms),
    )
    for what, value_ms, limit_ms in pairs:
        if value_ms is not None and limit_ms is not None and value_ms > limit_ms:
            reasons.append(f"{what}: an outage of {value_ms:.0f} ms, the limit is {limit_ms:.0f} ms")
    if expect.must_return and record.meta.back_ns is None and not record.meta.baseline:
        reasons.append("what was broken did not come back into service in time")
    return reasons


def stream_limit_ms(expect: Expect, name: str) -> float | None:
    """Return the limit of a stream: by its name, by a pattern, or that of all others; None if it has none."""
    if name in expect.breaking:
        return None
    if name in expect.streams:
        return expect.streams[name]
    for pattern, limit_ms in expect.streams.items():
        if pattern.endswith("*") and name.startswith(pattern[:-1]):
            return limit_ms
    return expect.others_ms
