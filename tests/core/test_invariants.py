"""Every invariant fires on a record that breaks it, and stays quiet on the nearest one that does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from ovenbird.drill.invariants import ALWAYS, INVARIANTS, check, unproven
from ovenbird.drill.outage import Record
from ovenbird.drill.record import (
    ARP_ANSWERED,
    EPOCH_CHANGED,
    LOG_LINE,
    ROLE_CHANGED,
    ROUTERS_COUNTED,
    Event,
    Final,
    Meta,
    RunRecord,
    Window,
    Write,
)

MS = 1_000_000
END_MS = 20_000
CLEAN = {"digest": "d", "servers": ["a", "b", "c"], "cid": "x", "error": ""}
NODES = ("c1", "c2", "c3")


def event(at_ms: int, kind: str, subject: str = "", **data: Any) -> Event:
    return Event(at_ns=at_ms * MS, kind=kind, subject=subject, what="", data=data)


def leads(at_ms: int, node: str, term: int, *, role: str = "leader", database: str = "nb") -> Event:
    return event(
        at_ms, ROLE_CHANGED, f"{database}@{node}", database=database, node=node, role=role, term=term, sid=f"s-{node}"
    )


def epoch(at_ms: int, number: int, holder: str) -> Event:
    return event(at_ms, EPOCH_CHANGED, epoch=number, holder=holder, revision=1, member="c1")


def arp(at_ms: int, node: str, *, before: str = "", last_ms: int = 0) -> Event:
    previous = {"node": before, "mac": "m", "port": f"x-{before}", "last_ns": last_ms * MS} if before else None
    return event(at_ms, ARP_ANSWERED, "172.16.0.1", node=node, mac="m", port=f"x-{node}", previous=previous)


def log(at_ms: int, text: str) -> Event:
    return event(at_ms, LOG_LINE, "g1/ovs-vswitchd", level="ERR", text=text)


def counted(at_ms: int, **carries: int) -> Event:
    return event(at_ms, ROUTERS_COUNTED, "routers", carries=carries)


def write(number: int, outcome: str = "acked") -> Write:
    return Write(
        number=number,
        object=f"drill-w-{number}",
        sent_ns=number * 100 * MS,
        answered_ns=number * 100 * MS + MS if outcome == "acked" else None,
        outcome=outcome,
    )


def holds(*numbers: int, **changes: Any) -> Final:
    """The final state in which exactly these writes are there."""
    return replace(
        Final(
            objects={f"drill-w-{number}": number for number in numbers},
            nb_objects={f"drill-w-{number}": (number,) for number in numbers},
            members={name: dict.fromkeys(NODES, CLEAN) for name in ("nb", "sb", "ovenbird")},
            realised="done",
            plan_changes=0,
            active={"cr-r": "g1"},
            answers={"172.16.0.1": "g1"},
        ),
        **changes,
    )


def run(
    *timeline: Event,
    writes: Sequence[Write] = (),
    final: Final | None = None,
    streams: Sequence[Record] = (),
    announced: Sequence[str] = (),
) -> RunRecord:
    window = Window(fault="kill", targets=("c1",), injected_ns=5000 * MS, healed_ns=8000 * MS, verified=True)
    meta = Meta(
        drill="test",
        seed=1,
        lab="test",
        baseline=False,
        started_ns=0,
        load_started_ns=1000 * MS,
        ended_ns=END_MS * MS,
        windows=[window],
        announced=announced,
    )
    return RunRecord(meta=meta, timeline=timeline, writes=writes, final=final or holds(), streams=streams)


def violations(record: RunRecord, name: str) -> list[str]:
    found = check(record, [name])
    assert all(violation.invariant == name for violation in found)
    return [violation.what for violation in found]


def member(node: str, **changes: Any) -> dict[str, Any]:
    return {"members": {"nb": {**dict.fromkeys(NODES, CLEAN), node: {**CLEAN, **changes}}}}


def stream(name: str, *, lost: Sequence[int] = (), breaks: Sequence[tuple[int, str]] = ()) -> Record:
    sent = [(seq, seq * 5 * MS) for seq in range(END_MS // 5)]
    received = [(seq, at + MS) for seq, at in sent if seq not in lost]
    return Record(name=name, interval_ms=5, sent=sent, received=received, breaks=breaks)


BROKEN = {
    "two leaders in one term": ("one-leader-per-term", run(leads(1000, "c1", 4), leads(1100, "c2", 4))),
    "a member with other content": ("members-equal", run(final=holds(**member("c2", digest="other")))),
    "a member that knows fewer": ("members-equal", run(final=holds(**member("c2", servers=["a", "b"])))),
    "a member of another cluster": ("members-equal", run(final=holds(**member("c2", cid="y")))),
    "a member that cannot be asked": ("members-equal", run(final=holds(**member("c2", error="refused")))),
    "an acknowledged write is gone": ("no-lost-write", run(writes=[write(1), write(2)], final=holds(1))),
    "it is declared but not in NB": (
        "no-lost-write",
        run(writes=[write(1)], final=holds(1, nb_objects={})),
    ),
    "its value was overwritten": (
        "no-lost-write",
        run(writes=[write(1)], final=holds(1, objects={"drill-w-1": 7})),
    ),
    "a write is declared twice": (
        "no-doubled-write",
        run(writes=[write(1)], final=holds(1, objects={"drill-w-1": 1, "drill-w-2": 1})),
    ),
    "a write is in NB twice": (
        "no-doubled-write",
        run(writes=[write(1)], final=holds(1, nb_objects={"drill-w-1": (1, 1)})),
    ),
    "a write that nobody sent": ("no-invented-write", run(writes=[write(1)], final=holds(1, 2))),
    "a refused write": ("no-invented-write", run(writes=[write(1, "refused")], final=holds(1))),
    "the epoch goes back": ("one-controller", run(epoch(1000, 3, "c1"), epoch(2000, 4, "c2"), epoch(2100, 3, "c1"))),
    "two holders of one epoch": ("one-controller", run(epoch(1000, 3, "c1"), epoch(2000, 3, "c2"))),
    "two gateways answer in turn": (
        "one-gateway-answers",
        run(
            *[
                arp(5000 + n * 100, "g1" if n % 2 else "g2", before="g2" if n % 2 else "g1", last_ms=4900 + n * 100)
                for n in range(45)
            ]
        ),
    ),
    "a standby answers at the end": ("active-gateway-answers", run(final=holds(answers={"172.16.0.1": "g2"}))),
    "packets between workloads are lost": ("east-west-lossless", run(streams=[stream("east-west", lost=[1500, 1501])])),
    "a connection between workloads ends": (
        "east-west-lossless",
        run(streams=[stream("east-west-tcp", breaks=[(6000 * MS, "reset")])]),
    ),
    "a chassis lags": ("realised", run(final=holds(realised="lagging"))),
    "the audit finds something": ("plan-empty", run(final=holds(plan_changes=1))),
    "an error that nobody announced": (
        "no-unannounced-error",
        run(log(6000, "assertion failed"), announced=["netdev"]),
    ),
    "a gateway is idle": ("gateways-level", run(counted(6000, g1=2, g2=0))),
    "a namespace is left": ("nothing-left", run(final=holds(residue=["Port/drill-snat"]))),
}

WELL = {
    "leaders in turn, and one seen twice": (
        "one-leader-per-term",
        run(leads(1000, "c1", 4), leads(1500, "c1", 4), leads(1600, "c2", 5), leads(1700, "c1", 5, role="follower")),
    ),
    "the same term in another database": (
        "one-leader-per-term",
        run(leads(1000, "c1", 4), leads(1000, "c2", 4, database="sb")),
    ),
    "a leader whose term could not be asked": ("one-leader-per-term", run(leads(1000, "c1", 0), leads(1100, "c2", 0))),
    "servers told in another order": ("members-equal", run(final=holds(**member("c2", servers=["c", "a", "b"])))),
    "an unknown write is gone": ("no-lost-write", run(writes=[write(1, "unknown")])),
    "an unknown write is there": ("no-invented-write", run(writes=[write(1, "unknown")], final=holds(1))),
    "writes beside each other": ("no-doubled-write", run(writes=[write(1), write(2)], final=holds(1, 2))),
    "a new epoch, seen again": (
        "one-controller",
        run(epoch(1000, 3, "c1"), epoch(2000, 4, "c2"), epoch(2100, 4, "c2")),
    ),
    "a gateway moves and moves back": (
        "one-gateway-answers",
        run(
            arp(1000, "g1"),
            arp(5600, "g2", before="g1", last_ms=5000),
            arp(7900, "g1", before="g2", last_ms=7890),
        ),
    ),
    "both answer for a short moment": (
        "one-gateway-answers",
        run(
            arp(1000, "g1"),
            arp(5100, "g2", before="g1", last_ms=5000),
            arp(5200, "g1", before="g2", last_ms=5100),
            arp(5300, "g2", before="g1", last_ms=5200),
        ),
    ),
    "the active gateway answers": ("active-gateway-answers", run()),
    "traffic to the outside is lost": ("east-west-lossless", run(streams=[stream("snat", lost=[1500])])),
    "a lone packet is lost": ("east-west-lossless", run(streams=[stream("east-west", lost=[1500])])),
    "the last packets are under way": ("east-west-lossless", run(streams=[stream("east-west", lost=[3999])])),
    "realised": ("realised", run()),
    "nothing to do": ("plan-empty", run()),
    "an announced error": (
        "no-unannounced-error",
        run(log(6000, "netdev: x-g1 is gone"), announced=["netdev: .*gone"]),
    ),
    "an odd number of routers": ("gateways-level", run(counted(6000, g1=2, g2=1))),
    "nothing left": ("nothing-left", run()),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_invariant_is_found(case: str) -> None:
    name, record = BROKEN[case]
    assert violations(record, name), case


@pytest.mark.parametrize("case", WELL)
def test_the_nearest_good_record_is_not_accused(case: str) -> None:
    name, record = WELL[case]
    assert violations(record, name) == [], case


def test_every_invariant_has_both_tests() -> None:
    assert {name for name, _ in BROKEN.values()} == {name for name, _ in WELL.values()} == set(INVARIANTS)


def test_a_good_run_breaks_nothing_and_each_broken_one_only_its_own() -> None:
    assert check(run(writes=[write(1)], final=holds(1)), list(INVARIANTS)) == ()
    for case, (name, record) in BROKEN.items():
        others = [other for other in INVARIANTS if other != name and not other.startswith("no-")]
        assert check(record, others) == (), case


def test_violations_come_in_order_of_time() -> None:
    found = check(run(epoch(3000, 4, "c2"), epoch(3100, 3, "c1"), leads(1000, "c1", 4), leads(1100, "c2", 4)))
    assert [violation.at_ns // MS for violation in found] == [1100, 3100]


def test_what_was_not_recorded_is_not_taken_for_well() -> None:
    nothing = replace(run(), final=Final())
    assert set(unproven(nothing)) == set(ALWAYS) - {"no-unannounced-error", "nothing-left"}
    assert check(nothing) == ()
    whole = run(leads(1, "c1", 1), epoch(1, 1, "c1"), arp(1, "g1"), writes=[write(1)], final=holds(1))
    assert unproven(whole) == ()
