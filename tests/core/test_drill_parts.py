"""What drills record, and the small decisions in it: outcomes of writes, bad log lines, commits in NB, round trips."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.core.test_invariants import event, holds, run, write

from ovenbird.drill import runner
from ovenbird.drill.commits import commits
from ovenbird.drill.computing import Look, burst, told
from ovenbird.drill.crowd import SAMPLED, sampled
from ovenbird.drill.final import nb_writes
from ovenbird.drill.host_watch import bad_line
from ovenbird.drill.invariants import check
from ovenbird.drill.outage import Record
from ovenbird.drill.record import EPOCH_CHANGED, Write, load, save
from ovenbird.drill.writer import document, mac_of, number_of, outcome_of
from ovenbird.model.documents import parse_documents
from ovenbird.model.errors import Bug, OvenbirdError, Refused, Timeout, Unavailable, UserError

MS = 1_000_000


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (UserError("bad"), "refused"),
        (Refused("in use"), "refused"),
        (Unavailable("nobody to ask"), "refused"),
        (Timeout("others write", code="busy"), "refused"),
        (Timeout("too many conflicts", code="conflict"), "refused"),
        (Timeout("no answer", code="no_answer"), "unknown"),
        (Timeout("may have been made", code="outcome_unknown"), "unknown"),
        (Bug("who knows"), "unknown"),
    ],
)
def test_only_what_certainly_did_not_happen_counts_as_refused(error: OvenbirdError, outcome: str) -> None:
    assert outcome_of(error) == outcome


@pytest.mark.parametrize("number", [1, 255, 256, 59_999])
def test_a_write_carries_its_number_where_nb_shows_it(number: int) -> None:
    [declared] = parse_documents(document(number), "drill")
    assert declared.name == f"drill-w-{number}"
    assert number_of(mac_of(number)) == number
    row = {"name": declared.name, "addresses": f"{mac_of(number)} 10.214.0.11"}
    foreign = {"name": "vm1", "addresses": ["set", ["0a:00:00:00:00:01 10.0.0.1", "unknown"]]}
    empty = {"name": "vm2", "addresses": ["set", []]}
    tables = {"Logical_Switch_Port": {"a": row, "b": foreign, "c": empty, "d": dict(row)}}
    assert nb_writes(tables) == {declared.name: [number, number]}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("2026-11-22T09:24:39.123Z|00012|raft|ERR|bad thing", ("ERR", "raft: bad thing")),
        ("2026-11-22T09:24:39.123Z|00012|util(urcu2)|EMER|assertion", ("EMER", "util(urcu2): assertion")),
        ("2026-11-22T09:24:39.123Z|00012|raft|WARN|it said |ERR| there", None),
        ('{"at": "2026-11-22T09:24:39.123+00:00", "level": "error", "event": "api.bug"}', ("ERR", "api.bug")),
        ('{"at": "2026-11-22T09:24:39.123+00:00", "level": "warning", "event": "nb.unreachable"}', None),
        ("Traceback (most recent call last):", ("ERR", "Traceback (most recent call last):")),
        ("{half a line", None),
        ("", None),
    ],
)
def test_bad_lines_are_those_of_level_err_or_worse(line: str, found: tuple[str, str] | None) -> None:
    bad = bad_line(line)
    assert (bad and (bad.level, bad.text)) == found
    if bad and "2026" in line:
        assert bad.at_ns == 1795339479123 * MS


def acked(number: int, sent_ms: int, revision: int) -> Write:
    return Write(
        number=number,
        object=f"drill-w-{number}",
        sent_ns=sent_ms * MS,
        answered_ns=sent_ms * MS,
        outcome="acked",
        revision=revision,
    )


def test_a_write_is_in_nb_when_a_revision_that_holds_it_is() -> None:
    writes = [acked(1, 100, 11), acked(2, 200, 12), acked(3, 300, 13), write(4, "unknown")]
    timeline = [event(at, EPOCH_CHANGED, epoch=1, holder="c1", revision=rev) for at, rev in ((110, 11), (900, 12))]
    stream = commits(writes, timeline)
    assert stream.sent == [(1, 100 * MS), (2, 200 * MS), (3, 300 * MS)]
    assert stream.received == [(1, 110 * MS), (2, 900 * MS)]
    assert stream.lost() == 1


def test_a_run_is_the_same_after_a_round_trip_through_its_folder(tmp_path: Path) -> None:
    stream = Record(name="snat-tcp", interval_ms=5.0, sent=[(1, 2)], received=[(1, 3)], kind="tcp", breaks=[(9, "x")])
    whole = run(event(1, EPOCH_CHANGED, epoch=1), writes=[acked(1, 100, 11)], streams=[stream], announced=["a"])
    save(whole, tmp_path)
    again = load(tmp_path)
    assert again.writes == whole.writes
    assert again.streams == whole.streams
    assert not again.streams[0].survived
    assert tuple(again.timeline) == whole.timeline


def test_a_report_that_drops_an_acknowledged_write_is_caught(tmp_path: Path) -> None:
    """The planted bug: what was saved of the cluster's final state lacks one write that the run saw acknowledged."""
    good = run(writes=[acked(n, 100 * n, 10 + n) for n in (1, 2, 3)], final=holds(1, 2, 3))
    save(good, tmp_path)
    names = ["no-lost-write", "no-doubled-write", "no-invented-write"]
    assert check(load(tmp_path), names) == ()
    final = (tmp_path / "final.json").read_text().replace('"drill-w-2"', '"drill-w-x"', 1)
    (tmp_path / "final.json").write_text(final)
    found = {violation.invariant: violation.what for violation in check(load(tmp_path), names)}
    assert "write 2 " in found["no-lost-write"]
    acknowledgements = (tmp_path / "writes.jsonl").read_text().splitlines()
    save(good, tmp_path)
    (tmp_path / "writes.jsonl").write_text("\n".join(acknowledgements[:-1]) + "\n")
    [violation, *_] = check(load(tmp_path), names)
    assert violation.invariant == "no-invented-write", "a write that the report forgot shows as one that nobody sent"


@pytest.mark.parametrize("count", [1, 8, 50, 100])
def test_routers_of_a_crowd_that_are_measured_are_on_every_gateway(count):
    measured = sampled(count)
    assert len(set(measured)) == min(count, SAMPLED)
    assert set(measured) <= set(range(count))
    for gateways in (2, 3, 4):
        assert {number % gateways for number in measured} == set(range(min(gateways, count)))


def looks(*steps: tuple[float, float, float]) -> list[Look]:
    """Looks after steps of (milliseconds, computed of them, waited of them)."""
    made = [Look(0, 0, 0)]
    for ms, computed_ms, waited_ms in steps:
        last = made[-1]
        made.append(
            Look(
                last.at_ns + round(ms * MS),
                last.computed_ns + round(computed_ms * MS),
                last.waited_ns + round(waited_ms * MS),
            )
        )
    return made


IDLE = (50.0, 1.0, 2.0)


def test_a_burst_is_what_was_computed_without_a_pause_after_the_fault() -> None:
    busy = (50.0, 10.0, 38.0)
    assert burst(looks(IDLE, busy, busy, busy, IDLE), 0) == {"computed_ms": 30.0, "waited_ms": 114.0}
    assert burst(looks(busy, busy, busy, busy, IDLE, IDLE), 150 * MS) == {}, "it computed before"
    assert burst(looks(IDLE, (50.0, 48.0, 0.0), IDLE, (50.0, 20.0, 25.0), IDLE), 0)["computed_ms"] == 48.0
    assert burst(looks(*[IDLE] * 110, busy, busy, busy), 0) == {}, "too late to have to do with the fault"
    assert burst(looks(IDLE, IDLE), 0) == {} == burst([], 0)


def test_a_busy_machine_is_told_from_slow_software() -> None:
    assert told({}) == []
    last, alone = told(
        {"g2": {"computed_ms": 250.0, "waited_ms": 10.0}, "g3": {"computed_ms": 200.0, "waited_ms": 900.0}}
    )
    assert "2 hosts" in last
    assert "1100 ms (g3: 200 ms" in last
    assert "250 ms at most (g2)" in alone


async def test_a_fault_waits_until_bfd_is_as_fast_as_the_policy_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "CALM_EVERY_S", 0.0)
    told_ms = [300.0, None, 200.0, 150.0]

    class Busy:
        def get(self, _path: str, **_options: object) -> dict[str, object]:
            if (detect_ms := told_ms.pop(0)) is None:
                raise Unavailable("nobody to ask")
            return {"bfd_detect_ms": detect_ms}

    await runner.calm(Busy(), 150.0)
    assert not told_ms
    told_ms = [600.0] * 100_000
    monkeypatch.setattr(runner, "LONGEST_CALM_S", 0.01)
    await runner.calm(Busy(), 150.0)
    assert told_ms, "one that stays busy is measured as it is"
