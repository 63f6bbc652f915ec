"""What must hold in every run, whatever was broken: one small pure function of the run's record per invariant.

Missing evidence is not a pass: `unproven` names the invariants on which a record says nothing, and a run that should
have proved them is invalid. This module must never read a clock or a file, nor know which drill ran.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ovenbird.drill.arp import overlaps
from ovenbird.drill.east_west import between_workloads, lost_packets
from ovenbird.drill.outage import NS_PER_MS
from ovenbird.drill.record import (
    EPOCH_CHANGED,
    LOG_LINE,
    OBSERVER_FAILED,
    ROLE_CHANGED,
    ROUTERS_COUNTED,
    Event,
    RunRecord,
)

ARP_OVERLAP_MS = 3500.0
"""Two gateways may answer for one address this long. In a planned move the old one does until the new one has taken
over and hosts that send have turned: half a second usually, never longer than agents wait on a machine that is busy
(`ovenbird.host.handover`). More means two gateways that both believe to be active."""
LONE_LOSS_SHARE = 0.001
"""Single packets, with their neighbours delivered, may be lost this often: the drill that breaks nothing shows as many
on a busy machine (a socket's queue overflows while its process waits for a processor). Two in a row are an outage."""
EAST_WEST = "east-west-lossless"


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """An invariant did not hold."""

    invariant: str
    at_ns: int
    """When it was first seen not to hold; unix nanoseconds."""
    what: str
    evidence: str = ""


Found = Iterable[tuple[int, str, str]]
"""(at_ns, what, evidence) of each violation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invariant:
    """One promise."""

    name: str
    what: str
    check: Callable[[RunRecord], Found]
    has_evidence: Callable[[RunRecord], bool]
    """Whether the record can show a violation at all."""
    always: bool = True
    """False: only for drills that ask for it."""


def check(record: RunRecord, names: Sequence[str] | None = None) -> tuple[Violation, ...]:
    """Return every violation of the named invariants (None: `ALWAYS`), the earliest first."""
    found = [
        Violation(invariant=name, at_ns=at_ns, what=what, evidence=evidence)
        for name in (ALWAYS if names is None else names)
        for at_ns, what, evidence in INVARIANTS[name].check(record)
    ]
    return tuple(sorted(found, key=lambda violation: violation.at_ns))


def unproven(record: RunRecord, names: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the named invariants (None: `ALWAYS`) for which the record holds no evidence either way."""
    chosen = ALWAYS if names is None else names
    return tuple(name for name in chosen if not INVARIANTS[name].has_evidence(record))


def _events(record: RunRecord, kind: str) -> list[Event]:
    return sorted((event for event in record.timeline if event.kind == kind), key=lambda event: event.at_ns)


# RAFT.


def _one_leader_per_term(record: RunRecord) -> Found:
    leaders: dict[tuple[str, int], tuple[str, str]] = {}
    for event in _events(record, ROLE_CHANGED):
        data = event.data
        if data["role"] != "leader" or not data.get("term"):
            continue
        term = (str(data["database"]), int(data["term"]))
        known = leaders.setdefault(term, (str(data.get("sid", "")), str(data["node"])))
        if known != (str(data.get("sid", "")), str(data["node"])):
            yield (
                event.at_ns,
                f"{term[0]}: {known[1]} and {data['node']} both lead in term {term[1]}",
                f"server ids {known[0]} and {data.get('sid', '')}",
            )


def _members_equal(record: RunRecord) -> Found:
    for database, members in record.final.members.items():
        for node, member in members.items():
            if member.get("error"):
                yield record.meta.ended_ns, f"{database}@{node} could not be asked after the heal", str(member["error"])
        told = {node: member for node, member in members.items() if not member.get("error")}
        for key, noun in (("digest", "content"), ("servers", "membership"), ("cid", "cluster id")):
            values = {node: _plain(member.get(key)) for node, member in told.items()}
            if len(set(values.values())) > 1:
                yield record.meta.ended_ns, f"{database}: the members differ in {noun}", _shown(values)
        for node, member in told.items():
            if len(member.get("servers", ())) != len(members):
                count = len(member.get("servers", ()))
                yield (
                    record.meta.ended_ns,
                    f"{database}@{node} knows {count} members, the cluster has {len(members)}",
                    str(member.get("servers")),
                )


# Writes.


def _lost(record: RunRecord) -> Found:
    declared, nb = record.final.objects, record.final.nb_objects
    for write in record.writes:
        if write.outcome != "acked":
            continue
        where = []
        if declared is not None and declared.get(write.object) != write.number:
            where.append(f"the declared state (it has {declared.get(write.object)})")
        if nb is not None and write.number not in nb.get(write.object, ()):
            where.append(f"NB (it has {list(nb.get(write.object, ()))})")
        if where:
            at_ns = write.answered_ns or write.sent_ns
            yield (
                at_ns,
                f"write {write.number} was acknowledged and is lost",
                f"{write.object} not in {', '.join(where)}",
            )


def _doubled(record: RunRecord) -> Found:
    sent = {write.number: write.sent_ns for write in record.writes}
    for number, count in Counter((record.final.objects or {}).values()).items():
        if count > 1:
            names = [name for name, value in (record.final.objects or {}).items() if value == number]
            yield (
                sent.get(number, record.meta.ended_ns),
                f"write {number} is in the declared state {count} times",
                (", ".join(names)),
            )
    rows = Counter(number for numbers in (record.final.nb_objects or {}).values() for number in numbers)
    for number, count in rows.items():
        if count > 1:
            yield sent.get(number, record.meta.ended_ns), f"write {number} is in NB {count} times", ""


def _invented(record: RunRecord) -> Found:
    possible = {(write.object, write.number) for write in record.writes if write.outcome != "refused"}
    refused = {(write.object, write.number) for write in record.writes} - possible
    declared = {(name, value) for name, value in (record.final.objects or {}).items()}
    rows = {(name, value) for name, values in (record.final.nb_objects or {}).items() for value in values}
    for where, present in (("the declared state", declared), ("NB", rows)):
        for name, value in sorted(present - possible, key=str):
            why = "was refused" if (name, value) in refused else "was never sent"
            yield record.meta.ended_ns, f"write {value} {why} and is in {where}", str(name)


# Controller.


def _one_controller(record: RunRecord) -> Found:
    holders: dict[int, str] = {}
    newest = 0
    for event in _events(record, EPOCH_CHANGED):
        epoch, holder = int(event.data["epoch"]), str(event.data["holder"])
        seen = f"seen at {event.data.get('member', 'a member')}"
        if epoch < newest:
            yield event.at_ns, f"{holder} wrote to NB under epoch {epoch} after epoch {newest} had begun", seen
        known = holders.setdefault(epoch, holder)
        if known != holder:
            yield event.at_ns, f"{known} and {holder} both wrote to NB under epoch {epoch}", seen
        newest = max(newest, epoch)


# Gateways.


def _one_gateway_answers(record: RunRecord) -> Found:
    most_ms = ARP_OVERLAP_MS if record.meta.overlap_ms is None else record.meta.overlap_ms
    for overlap in overlaps(record.timeline):
        if overlap.ms > most_ms:
            yield (
                overlap.start_ns,
                f"{' and '.join(overlap.nodes)} both answered for {overlap.address} for {overlap.ms:.0f} ms",
                f"seen on the outside switch; at most {most_ms:.0f} ms are tolerated while a gateway moves",
            )


def _active_gateway_answers(record: RunRecord) -> Found:
    active = set(record.final.active.values())
    for address, node in record.final.answers.items():
        if node not in active:
            yield (
                record.meta.ended_ns,
                f"{node} answers for {address}, which is active on {', '.join(sorted(active)) or 'none'}",
                _shown(record.final.active),
            )


# Traffic.


def _east_west(record: RunRecord) -> Found:
    for stream in between_workloads(record):
        lost, window = lost_packets(stream, record)
        in_a_row = any(not one and not other for (_, one), (_, other) in pairwise(window))
        if in_a_row or len(lost) > LONE_LOSS_SHARE * len(window):
            after_ms = (lost[0] - record.fault_ns) / NS_PER_MS
            yield lost[0], f"{stream.name} lost {len(lost)} packets", f"the first {after_ms:.0f} ms after the fault"
        for at_ns, why in stream.breaks:
            if at_ns < record.meta.ended_ns:  # later, the probes ended one after the other
                yield at_ns, f"{stream.name}: the connection ended", why


def lost_in_queues(record: RunRecord) -> str:
    """Return what the lab's own switches dropped, if that explains all that was lost between workloads; else ""."""
    streams = between_workloads(record)
    lost = sum(len(lost_packets(stream, record)[0]) for stream in streams)
    broken = any(at_ns < record.meta.ended_ns for stream in streams for at_ns, _why in stream.breaks)
    if broken or lost > sum(record.meta.queue_drops.values()) or not any(_east_west(record)):
        return ""
    return f"switches of the lab dropped packets before they saw them ({_shown(record.meta.queue_drops)})"


# After the heal.


def _realised(record: RunRecord) -> Found:
    if record.final.realised not in ("done", "unknown"):
        yield record.meta.ended_ns, f"the declared state is {record.final.realised}, not realised on every chassis", ""


def _plan_empty(record: RunRecord) -> Found:
    if record.final.plan_changes:
        yield record.meta.ended_ns, f"a full audit still wants {record.final.plan_changes} changes in NB", ""


def _unannounced(record: RunRecord) -> Found:
    announced = [re.compile(pattern) for pattern in record.meta.announced]
    first: dict[tuple[str, str], Event] = {}
    counts: Counter[tuple[str, str]] = Counter()
    for event in _events(record, LOG_LINE):
        text = f"{event.subject}: {event.data['text']}"
        if any(pattern.search(text) for pattern in announced):
            continue
        alike = (event.subject, re.sub(r"\d+", "#", str(event.data["text"])))
        first.setdefault(alike, event)
        counts[alike] += 1
    for alike, event in first.items():
        times = f" ({counts[alike]} times)" if counts[alike] > 1 else ""
        yield event.at_ns, f"{event.subject} logged at level {event.data['level']}{times}", str(event.data["text"])


def _nothing_left(record: RunRecord) -> Found:
    for thing in record.final.residue:
        yield record.meta.ended_ns, f"left behind: {thing}", ""


def _plain(value: Any) -> str:
    return ", ".join(sorted(map(str, value))) if isinstance(value, list | tuple) else str(value)


def _shown(values: Mapping[str, Any]) -> str:
    alike: dict[str, list[str]] = defaultdict(list)
    for name, value in values.items():
        alike[str(value)].append(name)
    return "; ".join(f"{', '.join(names)}: {value}" for value, names in alike.items())


def _saw(kind: str) -> Callable[[RunRecord], bool]:
    return lambda record: any(event.kind == kind for event in record.timeline)


def _has_written(record: RunRecord) -> bool:
    return any(write.outcome == "acked" for write in record.writes) and _has_objects(record)


def _has_objects(record: RunRecord) -> bool:
    return record.final.objects is not None and record.final.nb_objects is not None


def _level(record: RunRecord) -> Found:
    for event in _events(record, ROUTERS_COUNTED):
        counts = sorted(event.data["carries"].values())
        if not counts or counts[-1] - counts[0] > 1:
            yield event.at_ns, "the gateways that live do not carry as many routers each", _shown(event.data["carries"])


_ALL = (
    Invariant(
        name="one-leader-per-term",
        what="at most one RAFT leader per term of each database",
        check=_one_leader_per_term,
        has_evidence=_saw(ROLE_CHANGED),
    ),
    Invariant(
        name="members-equal",
        what="after the heal all members of a database have the same content, membership and cluster id",
        check=_members_equal,
        has_evidence=lambda record: bool(record.final.members),
    ),
    Invariant(
        name="no-lost-write",
        what="no acknowledged write is lost, neither from the declared state nor from NB",
        check=_lost,
        has_evidence=_has_written,
    ),
    Invariant(name="no-doubled-write", what="no write is there twice", check=_doubled, has_evidence=_has_objects),
    Invariant(
        name="no-invented-write",
        what="nothing is there that was not sent, or was refused",
        check=_invented,
        has_evidence=_has_objects,
    ),
    Invariant(
        name="one-controller",
        what="at most one controller writes to NB: its epoch never goes back, and has one holder",
        check=_one_controller,
        has_evidence=_saw(EPOCH_CHANGED),
    ),
    Invariant(
        name="one-gateway-answers",
        what="at most one gateway answers ARP for an address",
        check=_one_gateway_answers,
        has_evidence=_saw("arp.answered"),
    ),
    Invariant(
        name="active-gateway-answers",
        what="after the heal it is the active gateway that answers ARP",
        check=_active_gateway_answers,
        has_evidence=lambda record: bool(record.final.answers),
    ),
    Invariant(
        name=EAST_WEST,
        what="traffic between workloads loses nothing (when only the control plane is hurt)",
        check=_east_west,
        has_evidence=lambda record: any(stream.name.startswith("east-west") for stream in record.streams),
        always=False,
    ),
    Invariant(
        name="realised",
        what="after the heal the declared state is realised on every chassis",
        check=_realised,
        has_evidence=lambda record: record.final.realised != "unknown",
    ),
    Invariant(
        name="plan-empty",
        what="after the heal a full audit finds nothing to change",
        check=_plan_empty,
        has_evidence=lambda record: record.final.plan_changes is not None,
    ),
    Invariant(
        name="no-unannounced-error",
        what="no daemon logs an error that the drill did not announce",
        check=_unannounced,
        has_evidence=lambda record: (
            not any(event.kind == OBSERVER_FAILED and event.subject == "hosts" for event in record.timeline)
        ),
    ),
    Invariant(
        name="gateways-level",
        what="gateways that live carry as many routers each, give or take one",
        check=_level,
        has_evidence=lambda record: bool(_events(record, ROUTERS_COUNTED)),
        always=False,
    ),
    Invariant(
        name="nothing-left",
        what="the drill leaves nothing behind",
        check=_nothing_left,
        has_evidence=lambda record: True,
    ),
)

INVARIANTS: Mapping[str, Invariant] = {invariant.name: invariant for invariant in _ALL}
ALWAYS: tuple[str, ...] = tuple(invariant.name for invariant in _ALL if invariant.always)
"""Names of the invariants that hold in every drill."""
