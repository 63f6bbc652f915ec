"""From ARP answers to the times during which two gateways answered for one address: pure arithmetic.

An answer shows its sender to be active at that moment. A clean move has a last answer of the old gateway and then a
first one of the new; two that are active at once answer in turn. So a gateway's presence is the time spanned by its
answers as long as no pause between two of them is longer than `PAUSE_NS`, and an overlap is the time that lies in the
presence of two. This module must never read a clock or a file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ovenbird.drill.outage import NS_PER_MS
from ovenbird.drill.record import ARP_ANSWERED, Event

PAUSE_NS = 350 * NS_PER_MS
"""Three requests and a half at their spacing of 100 ms: one lost answer does not end a presence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """A time during which one gateway answered for an address without pause."""

    address: str
    node: str
    mac: str
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """A time during which two answered for the same address."""

    address: str
    nodes: tuple[str, str]
    start_ns: int
    end_ns: int

    @property
    def ms(self) -> float:
        """Length in milliseconds."""
        return (self.end_ns - self.start_ns) / NS_PER_MS


def presences(timeline: Iterable[Event]) -> list[Presence]:
    """Return who answered when, from the changes of who answers (`ARP_ANSWERED`)."""
    runs: list[Presence] = []
    open_runs: dict[str, Presence] = {}
    for event in sorted((each for each in timeline if each.kind == ARP_ANSWERED), key=lambda each: each.at_ns):
        previous, before = event.data.get("previous"), open_runs.pop(event.subject, None)
        if before is not None:
            runs.append(replace(before, end_ns=int(previous["last_ns"]) if previous else before.start_ns))
        open_runs[event.subject] = Presence(
            address=event.subject,
            node=str(event.data["node"]),
            mac=str(event.data["mac"]),
            start_ns=event.at_ns,
            end_ns=event.at_ns,
        )
    return _joined([*runs, *open_runs.values()])


def overlaps(timeline: Iterable[Event]) -> list[Overlap]:
    """Return every time during which two answered for one address, in order."""
    found = []
    there = presences(timeline)
    for at, one in enumerate(there):
        for other in there[at + 1 :]:
            if one.address != other.address or (one.node, one.mac) == (other.node, other.mac):
                continue
            start, end = max(one.start_ns, other.start_ns), min(one.end_ns, other.end_ns)
            if end >= start:
                nodes = (one.node, other.node)
                found.append(Overlap(address=one.address, nodes=nodes, start_ns=start, end_ns=end))
    return sorted(found, key=lambda overlap: overlap.start_ns)


def _joined(runs: Iterable[Presence]) -> list[Presence]:
    by_sender: dict[tuple[str, str, str], list[Presence]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.start_ns):
        there = by_sender[run.address, run.node, run.mac]
        if there and run.start_ns - there[-1].end_ns <= PAUSE_NS:
            there[-1] = replace(there[-1], end_ns=max(there[-1].end_ns, run.end_ns))
        else:
            there.append(run)
    return sorted((run for there in by_sender.values() for run in there), key=lambda run: run.start_ns)
