"""From a probe's record to outages: pure arithmetic on packet timestamps, the same for every drill.

An outage is a gap between two delivered packets, from the receiver's timestamps. The normal spacing is part of
a gap (a perfect run at 5 ms spacing has "gaps" of 5 ms): nothing is subtracted, so figures err on the honest side.
This module must never read a clock or a file.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

NS_PER_MS = 1_000_000
DATAGRAMS = frozenset({"icmp", "udp"})
"""Kinds of stream that send without waiting for anything."""
SESSIONS = frozenset({"tcp", "pull"})
"""Kinds of stream that are one long TCP connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Time without any delivered packet."""

    start_ns: int
    end_ns: int

    @property
    def ms(self) -> float:
        """Length in milliseconds."""
        return (self.end_ns - self.start_ns) / NS_PER_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What one probe sent and got back; times are unix nanoseconds."""

    name: str
    interval_ms: float
    sent: Sequence[tuple[int, int]]
    received: Sequence[tuple[int, int]]
    """In the order of their times."""
    kind: str = "icmp"
    """icmp, udp, tcp (one long connection), pull (one long download), read (of the API), or nb (a write, sent to the
    API and seen in NB)."""
    breaks: Sequence[tuple[int, str]] = ()
    """tcp, pull: when and why the connection ended and a new one had to be opened."""

    @classmethod
    def from_json(cls, name: str, data: dict[str, Any]) -> Record:
        """Build a record from what `probe.py` wrote."""
        return cls(
            name=name,
            interval_ms=float(data["interval_ms"]),
            sent=[(int(seq), int(at)) for seq, at in data["sent"]],
            received=sorted(((int(seq), int(at)) for seq, at in data["received"]), key=lambda item: item[1]),
            kind=str(data.get("kind", "icmp")),
            breaks=[(int(at), str(why)) for at, why in data.get("breaks", [])],
        )

    @property
    def survived(self) -> bool:
        """Whether the connection of a tcp or pull stream lived through the run."""
        return not self.breaks

    def lost(self) -> int:
        """How many requests were never answered."""
        return len(self.sent) - len({seq for seq, _ in self.received})

    def delivered_ratio(self, start_ns: int, end_ns: int) -> float:
        """Share of the requests sent in the window that were answered (at any time); 0 if none was sent."""
        wanted = {seq for seq, at in self.sent if start_ns <= at < end_ns}
        if not wanted:
            return 0.0
        return len(wanted & {seq for seq, _ in self.received}) / len(wanted)


def loss(record: Record, start_ns: int, end_ns: int) -> Gap:
    """Return the longest time in which no request was answered, ever, of those sent in the window; late ones were.

    From the first of them until the next one that was answered, or until the window ends; 0 ms if all were. Requests
    before the window count that were lost without a break until it began.
    """
    answered = {seq for seq, _ in record.received}
    worst, first_ns = Gap(start_ns=start_ns, end_ns=start_ns), 0
    for seq, at_ns in [*record.sent[: bisect_right(record.sent, end_ns, key=_sent_ns)], (None, end_ns)]:
        if seq is not None and seq not in answered:
            first_ns = first_ns or at_ns
        elif first_ns:
            if at_ns > start_ns:
                worst = max(worst, Gap(start_ns=first_ns, end_ns=at_ns), key=lambda gap: gap.ms)
            first_ns = 0
    return worst


def _sent_ns(request: tuple[int, int]) -> int:
    return request[1]


def gaps(record: Record, start_ns: int, end_ns: int) -> list[Gap]:
    """Return every gap that overlaps the window, in order; silence up to the window's ends counts as a gap."""
    return [Gap(start_ns=a, end_ns=b) for a, b in itertools.pairwise(_points(record, start_ns, end_ns))]


def largest(record: Record, start_ns: int, end_ns: int) -> Gap:
    """Return the largest gap that overlaps the window."""
    pairs = itertools.pairwise(_points(record, start_ns, end_ns))
    first, behind = max(pairs, key=lambda pair: pair[1] - pair[0])
    return Gap(start_ns=first, end_ns=behind)


def _points(record: Record, start_ns: int, end_ns: int) -> list[int]:
    arrivals = [at for _seq, at in record.received]
    first, behind = bisect_right(arrivals, start_ns), bisect_right(arrivals, end_ns)
    before = arrivals[first - 1] if first else start_ns
    after = arrivals[behind] if behind < len(arrivals) else end_ns
    return [before, *arrivals[first:behind], after]
