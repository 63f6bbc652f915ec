"""The record of one run: everything that was seen, in a folder that a stranger, or a newer checker, can read.

A run only records; verdicts come afterwards and are pure functions of the record, so an old run can be judged again.
Times are unix nanoseconds of this machine's one clock. This module must never judge.

Folder of a run:

    run.json         Meta
    timeline.jsonl   one Event per line, in order of time
    streams/NAME.json  what a probe sent and received (see `outage.Record`)
    writes.jsonl     one Write per line: every write that was sent through the API, with its acknowledgement
    final.json       Final: what the cluster looked like after everything was healed
    totals.json      how much was recorded, with digests (see `integrity`): a folder that lost something is refused
    logs/NODE/DAEMON.log   what the daemons logged during the run
    verdict.json     the verdict that was given at the time (may be given anew)
    index.html       the report
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ovenbird.drill.outage import Record

# Kinds of event.
FAULT_INJECTED = "fault.injected"
FAULT_VERIFIED = "fault.verified"
FAULT_HEALED = "fault.healed"
LOAD_STARTED = "load.started"
LOAD_STOPPED = "load.stopped"
ROLE_CHANGED = "role.changed"
"""subject: "DATABASE@NODE"; data: {"database", "node", "role" (leader, follower, unknown), "term", "sid", "cid"}."""
EPOCH_CHANGED = "epoch.changed"
"""The acting controller's row in NB was seen to change; data: {"epoch", "holder", "revision", "member"}.
In the order of NB's log, each state once, whichever member showed it first."""
GATEWAY_CLAIMED = "gateway.claimed"
"""subject: the cr- port; data: {"chassis"} ("" for none)."""
ROUTERS_COUNTED = "routers.counted"
"""data: {"carries": {gateway that is good: how many routers it carries}}."""
ARP_ANSWERED = "arp.answered"
"""Another than before answers for an address on the outside switch; subject: address; data: {"mac", "port" (of the
switch), "node" (behind that port), "previous": {"mac", "port", "node", "last_ns"} or null}. `last_ns` is the last
answer of the one before, so that the answers of each can be laid over each other."""
LOG_LINE = "log.line"
"""A line of level ERR or EMER; subject: "NODE/DAEMON"; data: {"level", "text"}."""
DAEMON_CHANGED = "daemon.changed"
"""subject: "NODE/DAEMON"; data: {"pid"} (0: gone)."""
PROCESSOR_STOLEN = "processor.stolen"
"""The machine that carries a lab did not get a processor of its own for a while; subject: cpuN; data: {"ms",
"between_ms" (since the look before this one: it was then)}."""
OBSERVER_FAILED = "observer.failed"
"""Something could not be watched for a while; subject: which observer; data: {"error"}."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened, or was seen to have happened."""

    at_ns: int
    kind: str
    subject: str
    what: str
    """For people."""
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One write sent through the API."""

    number: int
    """Counts from 1; also the value that was written, so that a lost, doubled or invented write can be told."""
    object: str
    """Name of the declared object that carries it."""
    sent_ns: int
    answered_ns: int | None
    outcome: str
    """"acked", "refused" (certainly not done), or "unknown" (no answer, or an error that leaves it open)."""
    detail: str = ""
    revision: int | None = None
    """Declared revision that holds it, by the acknowledgement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The time during which one fault was in force."""

    fault: str
    targets: Sequence[str]
    injected_ns: int
    healed_ns: int | None
    verified: bool
    """Whether the injector saw the fault take effect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """What was run, where, and when."""

    drill: str
    seed: int
    lab: str
    baseline: bool
    """Whether stock OVN was measured, with our agents and controllers stopped."""
    started_ns: int
    load_started_ns: int
    ended_ns: int
    windows: Sequence[Window]
    back_ns: int | None = None
    """When what was broken was in service again; None: not in time, or not applicable."""
    detect_limit_ms: float = 0.0
    """Time that the responsible detector needs by its timers."""
    announced: Sequence[str] = ()
    """Regular expressions of ERR/EMER lines that the drill causes on purpose."""
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, str] = field(default_factory=dict)
    live: str = ""
    """The host that a drill on a live cluster ran on; "": it ran on the lab."""
    overlap_ms: float | None = None
    """How long two gateways may answer for one address; None: what is tolerated of every move."""
    writes_sent: int | None = None
    """How many writes the writer says that it sent, counted apart from their records; None: it was not asked."""
    writes_acked: int | None = None
    queue_drops: Mapping[str, int] = field(default_factory=dict)
    """Node -> packets that its switch lost under load before it could look at them (see `queue_drops`)."""
    computing: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Node -> how long its ovn-controller computed after the fault, and waited for a processor (`computing.burst`)."""
    notes: Sequence[str] = ()
    phases_s: Mapping[str, float] = field(default_factory=dict)
    """How long each part of the run took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Final:
    """The cluster after everything was healed."""

    members: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    """database -> node -> {"digest": content, "servers": [sid, ...], "cid", "error"}."""
    objects: Mapping[str, Any] | None = None
    """Written objects in the declared state: name -> value (the Write.number they carry); None: could not be read."""
    nb_objects: Mapping[str, Sequence[int]] | None = None
    """Written objects in NB: name of the declared object -> numbers that its rows carry; None: could not be read."""
    realised: str = "unknown"
    """done | lagging | dead | unknown."""
    plan_changes: int | None = None
    """Changes that a full audit still wanted to make; None: could not be asked."""
    arp: Mapping[str, str] = field(default_factory=dict)
    """Gateway address -> MAC that the outside host ends up with."""
    answers: Mapping[str, str] = field(default_factory=dict)
    """Gateway address -> node that answered for it last."""
    active: Mapping[str, str] = field(default_factory=dict)
    """Gateway port -> chassis that has it."""
    residue: Sequence[str] = ()
    """What the drill left behind and should not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """Everything about one run."""

    meta: Meta
    timeline: Sequence[Event] = ()
    streams: Sequence[Record] = ()
    writes: Sequence[Write] = ()
    final: Final = Final()

    @property
    def fault_ns(self) -> int:
        """When the first fault was injected; the end of the run if there was none."""
        return min((window.injected_ns for window in self.meta.windows), default=self.meta.ended_ns)

    @property
    def healed_ns(self) -> int:
        """When the last fault was healed (or injected, if it heals by itself)."""
        return max((window.healed_ns or window.injected_ns for window in self.meta.windows), default=self.fault_ns)


def save(record: RunRecord, folder: Path) -> None:
    """Write a run into its folder."""
    (folder / "streams").mkdir(parents=True, exist_ok=True)
    _dump(folder / "run.json", asdict(record.meta))
    _dump(folder / "final.json", asdict(record.final))
    _dump_lines(folder / "timeline.jsonl", (asdict(event) for event in record.timeline))
    _dump_lines(folder / "writes.jsonl", (asdict(write) for write in record.writes))
    for stream in record.streams:
        _dump(folder / "streams" / f"{stream.name}.json", _stream(stream), indent=None)


def load_meta(folder: Path) -> Meta:
    """Read back what a run was."""
    meta = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    meta["windows"] = [Window(**window) for window in meta["windows"]]
    return Meta(**meta)


def load(folder: Path) -> RunRecord:
    """Read a run back."""
    return RunRecord(
        meta=load_meta(folder),
        timeline=[Event(**line) for line in _lines(folder / "timeline.jsonl")],
        streams=[
            Record.from_json(path.stem, json.loads(path.read_text(encoding="utf-8")))
            for path in sorted((folder / "streams").glob("*.json"))
        ],
        writes=[Write(**line) for line in _lines(folder / "writes.jsonl")],
        final=Final(**json.loads((folder / "final.json").read_text(encoding="utf-8"))),
    )


def _stream(stream: Record) -> dict[str, Any]:
    """Return what `asdict` would, without a copy of every packet."""
    packets = {"sent": stream.sent, "received": stream.received}
    return {**asdict(replace(stream, sent=(), received=())), **packets}


def _dump(path: Path, data: Any, *, indent: int | None = 1) -> None:
    path.write_text(json.dumps(data, indent=indent, separators=None if indent else (",", ":")) + "\n", encoding="utf-8")


def _dump_lines(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
