"""From a stream's thousands of packets to as many columns as a plot has: keeps every maximum and every loss.

A column holds the packets *sent* in its share of the time. It never averages: one slow packet among hundreds stays
visible, and so does one lost one. This module must never read a clock or a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ovenbird.drill.outage import NS_PER_MS, Record


@dataclass(frozen=True, slots=True)
class Column:
    """What became of the packets that were sent in one share of the time."""

    at: int
    """Number of the column, from 0."""
    sent: int
    lost: int
    min_ms: float | None
    """Latency from sending to receiving; None: all were lost."""
    max_ms: float | None


def columns(stream: Record, start_ns: int, end_ns: int, count: int) -> list[Column]:
    """Return the columns in which anything was sent, in order; at most `count`."""
    arrived: dict[int, int] = {}
    for seq, at_ns in stream.received:
        arrived.setdefault(seq, at_ns)  # a duplicate does not make a packet later
    buckets: dict[int, list[float | None]] = {}
    for seq, at_ns in stream.sent:
        if start_ns <= at_ns < end_ns:
            received_ns = arrived.get(seq)
            latency_ms = None if received_ns is None else (received_ns - at_ns) / NS_PER_MS
            buckets.setdefault(column_of(at_ns, start_ns, end_ns, count), []).append(latency_ms)
    return [_column(at, buckets[at]) for at in sorted(buckets)]


def counts(times_ns: Iterable[int], start_ns: int, end_ns: int, count: int) -> dict[int, int]:
    """Return how many of the times fall into each column; empty columns are left out."""
    found: dict[int, int] = {}
    for at_ns in times_ns:
        if start_ns <= at_ns < end_ns:
            at = column_of(at_ns, start_ns, end_ns, count)
            found[at] = found.get(at, 0) + 1
    return dict(sorted(found.items()))


def column_of(at_ns: int, start_ns: int, end_ns: int, count: int) -> int:
    """Return the number of the column that a time falls into."""
    return min(count - 1, (at_ns - start_ns) * count // max(1, end_ns - start_ns))


def _column(at: int, latencies: Sequence[float | None]) -> Column:
    known = [value for value in latencies if value is not None]
    return Column(
        at=at,
        sent=len(latencies),
        lost=len(latencies) - len(known),
        min_ms=min(known, default=None),
        max_ms=max(known, default=None),
    )
