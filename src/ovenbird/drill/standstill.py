"""Finds moments in which the machine that carries a whole lab ran nothing: what it cost, not the fault.

A virtual machine is stopped by its host now and then, for tens to hundreds of milliseconds. Probes run in several
places, as processes that come before all others; when none of them *sent* anything, nothing ran, and whatever came late
says nothing about the network. Only of labs: on a live cluster a drill has one probe, and its host may be what is slow.
This module must never read a clock or a file.
"""

from __future__ import annotations

from ovenbird.drill.outage import DATAGRAMS, NS_PER_MS, Record, largest
from ovenbird.drill.record import RunRecord

LEAST_MS = 25.0
"""On a quiet machine no probe sent for 5 to 9 ms, seldom for 16, and once for 67."""
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
    when_s = (still.start_ns - record.fault_ns) / NS_PER_MS / 1000
    when = f"{abs(when_s):.1f} s {'after' if when_s >= 0 else 'before'} the fault"
    return [f"no probe in any place sent anything for {still.ms:.0f} ms, {when}: the machine stood still"]
