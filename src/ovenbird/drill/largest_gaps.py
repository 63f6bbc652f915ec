"""The gaps that give a run its figures: of each stream, of all together, and of writes.

Pure: from a record alone. This module must never judge.
"""

from __future__ import annotations

from collections.abc import Sequence

from ovenbird.drill.outage import NS_PER_MS, SESSIONS, Gap, Record, gaps, largest
from ovenbird.drill.record import RunRecord


def before_fault(stream: Record, record: RunRecord) -> list[Gap]:
    """Return the gaps that ended before the fault; the last one of the window reaches over it."""
    return gaps(stream, record.meta.load_started_ns, record.fault_ns)[:-1]


def outage_gap(stream: Record, record: RunRecord) -> Gap:
    """Return the largest gap while the fault was in force, or before its loss could be known everywhere."""
    return largest(stream, record.fault_ns, known_ns(record))


def known_ns(record: RunRecord) -> int:
    """Return when the fault was over, and its loss known everywhere."""
    return max(record.fault_ns + int(record.meta.detect_limit_ms * NS_PER_MS), record.healed_ns)


def return_gap(stream: Record, record: RunRecord) -> Gap:
    """Return the largest gap after the outage was over, until the load ended."""
    start_ns = min(outage_gap(stream, record).end_ns, record.meta.ended_ns)
    return largest(stream, start_ns, record.meta.ended_ns)


def write_gap(record: RunRecord) -> Gap | None:
    """Return the longest time without an acknowledged write from the fault until the end; None without writes."""
    acked = sorted(write.answered_ns for write in record.writes if write.outcome == "acked" and write.answered_ns)
    if not record.writes:
        return None
    times = Record(name="writes", interval_ms=0, sent=(), received=[(i, at) for i, at in enumerate(acked)])
    return largest(times, record.fault_ns, record.meta.ended_ns)


def decisive(record: RunRecord, streams: Sequence[Record]) -> list[Gap]:
    """Return the largest gaps of packets until the return and from then on; those of TCP connections by themselves."""
    sessions = [stream for stream in streams if stream.kind in SESSIONS]
    datagrams = [stream for stream in streams if stream.kind not in SESSIONS]
    sides = [
        [find(stream, record) for stream in side] for side in (datagrams, sessions) for find in (outage_gap, return_gap)
    ]
    return [max(side, key=lambda gap: gap.ms) for side in sides if side]
