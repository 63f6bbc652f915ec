"""Records of runs as a drill would leave them, made by hand: one gateway crash, with knobs for what went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from ovenbird.drill.judge import Bite, Expect
from ovenbird.drill.outage import NS_PER_MS, Record
from ovenbird.drill.record import (
    ARP_ANSWERED,
    DAEMON_CHANGED,
    EPOCH_CHANGED,
    FAULT_INJECTED,
    FAULT_VERIFIED,
    GATEWAY_CLAIMED,
    LOAD_STARTED,
    LOAD_STOPPED,
    LOG_LINE,
    ROLE_CHANGED,
    Event,
    Final,
    Meta,
    RunRecord,
    Window,
    Write,
)
from ovenbird.drill.script import Detector, Drill, once

START_NS = 1_790_000_000 * 1000 * NS_PER_MS
FAULT_MS, BACK_MS, END_MS = 4000, 12000, 20000
PORT = "cr-drill-r_public"

DRILL = Drill(
    name="gateway-crash",
    what="kill -9 of the active gateway's ovs-vswitchd",
    steps=once("kill", "gateway-active", daemon="ovs-vswitchd"),
    expect=Expect(
        streams={"snat*": 1500.0, "floating-ip*": 1500.0},
        return_outage_ms=2500.0,
        write_outage_ms=1000.0,
        bite=Bite.STREAMS,
    ),
    detector=Detector.BFD,
)


def at(ms: float) -> int:
    """Unix nanoseconds of so many milliseconds after the load's start."""
    return START_NS + round(ms * NS_PER_MS)


def stream(
    name: str, *silences: tuple[int, int], kind: str = "icmp", end_ms: int = END_MS, spacing_ms: int = 5
) -> Record:
    """A stream that delivers nothing of what is sent during the silences (milliseconds, ends not included)."""
    random = Random(name)
    times = list(enumerate(range(0, end_ms, spacing_ms), 1))
    received = [
        (number, at(ms + min(40.0, 0.35 + random.expovariate(3))))
        for number, ms in times
        if not any(start < ms < end for start, end in silences)
    ]
    return Record(
        name=name,
        interval_ms=spacing_ms,
        sent=[(number, at(ms)) for number, ms in times],
        received=sorted(received, key=lambda each: each[1]),
        kind=kind,
    )


def writes(*silences: tuple[int, int], end_ms: int = END_MS) -> list[Write]:
    """Ten writes a second; those of a silence get no answer."""
    found = []
    for number, ms in enumerate(range(50, end_ms, 100), 1):
        silent = any(start < ms < end for start, end in silences)
        found.append(
            Write(
                number=number,
                object=f"drill-w{number}",
                sent_ns=at(ms),
                answered_ns=None if silent else at(ms + 20),
                outcome="unknown" if silent else "acked",
                detail="no answer within 2 s" if silent else "",
            )
        )
    return found


def event(ms: float, kind: str, subject: str, what: str, **data: object) -> Event:
    return Event(at_ns=at(ms), kind=kind, subject=subject, what=what, data=data)


def role(ms: float, database: str, node: str, role: str, term: int) -> Event:
    what = f"{node} is {role} of {database} in term {term}"
    data = {
        "database": database,
        "node": node,
        "role": role,
        "term": term,
        "sid": f"sid-{node}",
        "cid": f"cid-{database}",
    }
    return event(ms, ROLE_CHANGED, f"{database}@{node}", what, **data)


def timeline() -> list[Event]:
    answers = {"mac": "0a:00:00:00:00:01", "port": "p-g1", "node": "g1", "previous": None}
    moved = {
        "mac": "0a:00:00:00:00:01",
        "port": "p-g2",
        "node": "g2",
        "previous": {"mac": "0a:00:00:00:00:01", "port": "p-g1", "node": "g1", "last_ns": at(3980)},
    }
    return [
        event(0, LOAD_STARTED, "load", "5 streams and 10 writes/s"),
        *(role(1, database, "c1", "leader", 3) for database in ("nb", "sb", "ovenbird")),
        event(2, EPOCH_CHANGED, "nb", "c1 acts under epoch 4", epoch=4, holder="c1", revision=10, member="c1"),
        event(3, GATEWAY_CLAIMED, PORT, "g1 carries drill-r", chassis="g1"),
        event(4, ARP_ANSWERED, "172.16.0.201", "g1 answers for 172.16.0.201", **answers),
        event(900, EPOCH_CHANGED, "nb", "revision 11", epoch=4, holder="c1", revision=11, member="c2"),
        event(FAULT_MS, FAULT_INJECTED, "g1", "kill ovs-vswitchd on g1"),
        event(FAULT_MS + 4, FAULT_VERIFIED, "g1", "ovs-vswitchd has ended"),
        event(FAULT_MS + 5, DAEMON_CHANGED, "g1/ovs-vswitchd", "gone", pid=0),
        event(FAULT_MS + 640, GATEWAY_CLAIMED, PORT, "g2 carries drill-r", chassis="g2"),
        event(FAULT_MS + 655, ARP_ANSWERED, "172.16.0.201", "g2 answers for 172.16.0.201", **moved),
        event(FAULT_MS + 700, DAEMON_CHANGED, "g1/ovs-vswitchd", "started, pid 812", pid=812),
        role(FAULT_MS + 1500, "sb", "c1", "follower", 4),
        role(FAULT_MS + 2600, "sb", "c3", "leader", 5),
        event(BACK_MS, GATEWAY_CLAIMED, PORT, "g1 carries drill-r", chassis="g1"),
        event(END_MS, LOAD_STOPPED, "load", "all probes have ended"),
    ]


def final(written: Sequence[Write]) -> Final:
    acked = [write for write in written if write.outcome == "acked"]
    member = {"digest": "d41d", "servers": ["sid-c1", "sid-c2", "sid-c3"], "cid": "cid", "error": ""}
    return Final(
        members={name: {node: member for node in ("c1", "c2", "c3")} for name in ("nb", "sb", "ovenbird")},
        objects={write.object: write.number for write in acked},
        nb_objects={write.object: [write.number] for write in acked},
        realised="done",
        plan_changes=0,
        answers={"172.16.0.201": "g1"},
        active={PORT: "g1"},
    )


def record(
    *streams: Record, written: Sequence[Write] | None = None, seed: int = 7, verified: bool = True, **meta: object
) -> RunRecord:
    """A gateway crash with 650 ms of outage and 200 ms on return, unless streams or writes are given."""
    lost = ((FAULT_MS, FAULT_MS + 650), (BACK_MS, BACK_MS + 200))
    written = writes() if written is None else written
    streams = streams or (
        stream("snat", *lost),
        stream("floating-ip", *lost, kind="udp"),
        stream("east-west"),
    )
    made = Meta(
        drill="gateway-crash",
        seed=seed,
        lab="demo",
        baseline=False,
        started_ns=at(-9000),
        load_started_ns=at(0),
        ended_ns=at(END_MS),
        windows=[
            Window(
                fault="kill ovs-vswitchd", targets=("g1",), injected_ns=at(FAULT_MS), healed_ns=None, verified=verified
            )
        ],
        back_ns=at(BACK_MS),
        detect_limit_ms=600.0,
        versions={"ovn": "23.03.1", "openvswitch": "3.1.0", "ovenbird": "0.2.0", "python": "3.11.2", "kernel": "6.1.0"},
        machine={"cpus": "2", "memory": "7.8 GiB", "cpu": "a small one"},
    )
    return RunRecord(
        meta=replace(made, **meta), timeline=timeline(), streams=streams, writes=written, final=final(written)
    )


def with_log_line(run: RunRecord, text: str, ms: float = 5000) -> RunRecord:
    line = event(ms, LOG_LINE, "c2/ovsdb-server-nb", text, level="ERR", text=text)
    return replace(run, timeline=[*run.timeline, line])
