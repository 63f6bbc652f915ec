"""Finds moments in which the machine that carries a whole lab ran nothing, or lacked a processor.

A virtual machine is stopped by its own host now and then, for tens to hundreds of milliseconds: as a whole, or one of
its processors. What came late then says what that cost, and nothing about the network. Probes run in several places, as
processes that come before all others: when none of them *sent* anything, nothing ran. A single processor's loss is told
by the kernel, as stolen time. Only of labs: on a live cluster a drill has one probe, and its host may be what is slow.
This module must never read a clock or a file.
"""

from __future__ import annotations

from collections.abc import Iterable

from ovenbird.drill.outage import DATAGRAMS, NS_PER_MS, Gap, Record, largest
from ovenbird.drill.record import PROCESSOR_STOLEN, RunRecord

LEAST_MS = 25.0
"""On a quiet machine no probe sent for 5 to 9 ms, seldom for 16, and once for 67."""
STOLEN_MS = 30.0
"""The kernel counts in steps of 10 ms: it may have been 20. What is shorter is everyday, and part of the figures."""
BETWEEN_MS = 500.0
"""Between two looks, where a record of an earlier version does not tell: who looks gives way on a busy machine."""
SHARE = 0.5
"""A processor's absence for less than this part of a gap is not what the gap comes from: the rest is the network's."""
SPACINGS = 3.0
"""As many of the streams' own intervals are allowed, where these are greater."""


def standstill(record: RunRecord) -> list[str]:
    """Return the longest moment in which no probe of a lab sent anything, if it was too long to be by chance."""
    streams = [stream for stream in record.streams if stream.kind in DATAGRAMS]
    begin_ns, end_ns = record.meta.load_started_ns, record.meta.ended_ns
    sent = sorted(at_ns for stream in streams for _, at_ns in stream.sent if begin_ns <= at_ns <= end_ns)
    if record.meta.live or len(sent) < 2:
        return []
    limit_ms = max(LEAST_MS, SPACINGS * min(stream.interval_ms for stream in streams))
    times = Record(name="sent", interval_ms=0, sent=(), received=list(enumerate(sent)))
    still = largest(times, sent[0], sent[-1])
    if still.ms <= limit_ms:
        return []
    when = _when(record, still.start_ns)
    return [f"no probe in any place sent anything for {still.ms:.0f} ms, {when}: the machine stood still"]


def stolen(record: RunRecord, decisive: Iterable[Gap]) -> list[str]:
    """Return the first of the gaps that give a run its figures in which a processor was taken away for long."""
    taken = [event for event in record.timeline if event.kind == PROCESSOR_STOLEN and event.data["ms"] >= STOLEN_MS]
    for gap in decisive:
        for event in taken:
            since_ms = event.data["ms"] + event.data.get("between_ms", BETWEEN_MS)
            begin_ns = event.at_ns - round(since_ms * NS_PER_MS)
            if begin_ns < gap.end_ns and gap.start_ns < event.at_ns and event.data["ms"] >= SHARE * gap.ms:
                return [f"{event.what}, {_when(record, event.at_ns)}, in a gap of {gap.ms:.0f} ms"]
    return []


def _when(record: RunRecord, at_ns: int) -> str:
    when_s = (at_ns - record.fault_ns) / NS_PER_MS / 1000
    return f"{abs(when_s):.1f} s {'after' if when_s >= 0 else 'before'} the fault"
