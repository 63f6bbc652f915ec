"""From a run's events to lanes over time: who led each database, who held the epoch, which gateway had what.

A lane says what was seen, with its holes: where nobody led, there is no segment. This module must never read a clock or
a file, nor judge.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ovenbird.drill.arp import presences
from ovenbird.drill.record import (
    ARP_ANSWERED,
    DAEMON_CHANGED,
    EPOCH_CHANGED,
    GATEWAY_CLAIMED,
    LOG_LINE,
    ROLE_CHANGED,
    Event,
    RunRecord,
)

DATABASES = ("nb", "sb", "ovenbird")


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A time during which one node held something."""

    start_ns: int
    end_ns: int
    node: str
    """Names the colour; several nodes are joined by " + "."""
    label: str
    clash: bool = False
    """Several held what one alone should hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One row of a plot."""

    title: str
    segments: Sequence[Segment]
    empty: str
    """What it means where there is no segment."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One moment of a plot."""

    at_ns: int
    kind: str
    """error, gone or started."""
    what: str


def lanes(record: RunRecord) -> list[Lane]:
    """Return every lane that the record has evidence for, databases first."""
    end_ns = record.meta.ended_ns
    return [*_leaders(record.timeline, end_ns), *_epochs(record.timeline, end_ns), *_gateways(record, end_ns)]


def marks(record: RunRecord) -> list[Mark]:
    """Return error log lines and daemons that ended or started, in order."""
    found = []
    for event in _of(record.timeline, LOG_LINE, DAEMON_CHANGED):
        kind = "error" if event.kind == LOG_LINE else ("started" if event.data.get("pid") else "gone")
        found.append(Mark(event.at_ns, kind, f"{event.subject}: {event.what}"))
    return found


def telling(timeline: Iterable[Event]) -> list[Event]:
    """Return the events that a person wants to see: a new revision under the same epoch is not one of them."""
    shown, held = [], None
    for event in sorted(timeline, key=lambda event: event.at_ns):
        if event.kind == EPOCH_CHANGED:
            claim = (event.data.get("epoch"), event.data.get("holder"))
            if claim == held:
                continue
            held = claim
        shown.append(event)
    return shown


def _of(timeline: Iterable[Event], *kinds: str) -> list[Event]:
    return sorted((event for event in timeline if event.kind in kinds), key=lambda event: event.at_ns)


def _leaders(timeline: Iterable[Event], end_ns: int) -> list[Lane]:
    events: dict[str, list[Event]] = defaultdict(list)
    for event in _of(timeline, ROLE_CHANGED):
        events[str(event.data["database"])].append(event)
    names = [*(name for name in DATABASES if name in events), *sorted(set(events) - set(DATABASES))]
    return [
        Lane(title=f"{name} leader", segments=_held(_leading(events[name]), end_ns), empty="no leader seen")
        for name in names
    ]


def _leading(events: Sequence[Event]) -> list[tuple[int, tuple[str, ...], str]]:
    """Return (at_ns, leading nodes, label) after each change of a role."""
    leading: dict[str, int | None] = {}
    steps = []
    for event in events:
        node = str(event.data["node"])
        if event.data["role"] == "leader":
            leading[node] = event.data.get("term")
        else:
            leading.pop(node, None)
        nodes = tuple(sorted(leading))
        steps.append((event.at_ns, nodes, " + ".join(f"{node} (term {_known(leading[node])})" for node in nodes)))
    return steps


def _epochs(timeline: Iterable[Event], end_ns: int) -> list[Lane]:
    events = _of(timeline, EPOCH_CHANGED)
    steps = [
        (event.at_ns, (str(event.data["holder"]),), f"{event.data['holder']} (epoch {_known(event.data.get('epoch'))})")
        for event in events
    ]
    return [Lane(title="controller", segments=_held(steps, end_ns), empty="no claim seen")] if steps else []


def _gateways(record: RunRecord, end_ns: int) -> list[Lane]:
    claims: dict[str, list[tuple[int, tuple[str, ...], str]]] = defaultdict(list)
    for event in _of(record.timeline, GATEWAY_CLAIMED):
        chassis = str(event.data.get("chassis") or "")
        claims[event.subject].append((event.at_ns, (chassis,) if chassis else (), chassis))
    claimed = [
        Lane(title=f"claims {port}", segments=_held(claims[port], end_ns), empty="on no chassis")
        for port in sorted(claims)
    ]
    return [*claimed, *_answers(record.timeline, end_ns)]


def _answers(timeline: Iterable[Event], end_ns: int) -> list[Lane]:
    """Return one lane per address and node: two that answer at once are then seen beside each other."""
    last = {event.subject: str(event.data["node"]) for event in _of(timeline, ARP_ANSWERED)}
    found: dict[tuple[str, str], list[Segment]] = defaultdict(list)
    for one in presences(timeline):
        found[one.address, one.node].append(
            Segment(start_ns=one.start_ns, end_ns=one.end_ns, node=one.node, label=f"{one.node} {one.mac}")
        )
    result = []
    for (address, node), segments in sorted(found.items()):
        if last[address] == node:  # nobody has taken over from it: it answered until the end
            open_one = segments[-1]
            segments[-1] = Segment(start_ns=open_one.start_ns, end_ns=end_ns, node=node, label=open_one.label)
        result.append(Lane(title=f"ARP {address} by {node}", segments=segments, empty="no answer"))
    return result


def _held(steps: Sequence[tuple[int, tuple[str, ...], str]], end_ns: int) -> list[Segment]:
    """Return the segments between changes; steps that change nothing are joined."""
    segments: list[Segment] = []
    for at, (start_ns, nodes, label) in enumerate(steps):
        until_ns = steps[at + 1][0] if at + 1 < len(steps) else max(end_ns, start_ns)
        if not nodes:
            continue
        if segments and segments[-1].label == label and segments[-1].end_ns == start_ns:
            start_ns = segments.pop().start_ns  # noqa: PLW2901 - the joined segment begins earlier
        segments.append(
            Segment(start_ns=start_ns, end_ns=until_ns, node=" + ".join(nodes), label=label, clash=len(nodes) > 1)
        )
    return segments


def _known(value: object) -> str:
    return "?" if value is None else str(value)
