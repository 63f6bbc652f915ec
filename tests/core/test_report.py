"""The folder of a run: written whole, read back whole, and refused when anything of it was dropped."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from tests.core.run_records import DRILL, FAULT_MS, at, record, stream, writes

from ovenbird.drill import record as records
from ovenbird.drill import report, runs
from ovenbird.drill.integrity import flaws
from ovenbird.drill.judge import Expect, Outcome, judge
from ovenbird.drill.log_excerpt import capped, during
from ovenbird.drill.outage import NS_PER_MS
from ovenbird.model.errors import Bug, Refused, UserError


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written") / "run"
    run = record()
    report.write_report(folder, run, DRILL, judge(run, DRILL.expect))
    return folder


@pytest.fixture
def folder(written, tmp_path):
    return Path(shutil.copytree(written, tmp_path / "run"))


def plain(run):
    return json.loads(json.dumps(asdict(replace(run, streams=sorted(run.streams, key=lambda each: each.name)))))


def lines_of(path):
    return path.read_text().splitlines(keepends=True)


def test_what_was_recorded_is_read_back(folder):
    assert plain(runs.open_record(folder)) == plain(record())
    [run] = runs.open_all(folder)
    assert [run] == runs.glance(folder.parent)
    assert (run.folder, run.meta.seed, run.judged.outcome) == (folder, record().meta.seed, Outcome.PASS)
    assert run.judged.to_json() == json.loads((folder / "verdict.json").read_text())


def test_a_report_can_be_made_again_from_its_folder(folder):
    page = (folder / "index.html").read_text()
    (folder / "index.html").unlink()
    report.render(folder)
    assert (folder / "index.html").read_text() == page


def test_an_acknowledged_write_that_is_gone_from_the_folder_is_noticed(folder):
    path = folder / "writes.jsonl"
    path.write_text("".join(lines_of(path)[:-1]))
    with pytest.raises(Refused) as caught:
        runs.open_record(folder)
    assert "200 writes were recorded, the folder holds 199" in caught.value.evidence
    assert "acknowledged writes" in caught.value.evidence
    with pytest.raises(Refused):
        report.rejudge(folder, DRILL)


def test_a_write_that_is_told_otherwise_is_noticed(folder):
    path = folder / "writes.jsonl"
    path.write_text(path.read_text().replace('"drill-w30"', '"drill-w31"'))
    with pytest.raises(Refused, match="not whole"):
        runs.open_record(folder)


def test_a_missing_stream_and_missing_packets_are_noticed(folder):
    streams = folder / "streams"
    (streams / "east-west.json").unlink()
    data = json.loads((streams / "snat.json").read_text())
    data["received"].pop()
    (streams / "snat.json").write_text(json.dumps(data))
    with pytest.raises(Refused) as caught:
        runs.open_record(folder)
    assert "the stream east-west is missing" in caught.value.evidence
    assert "packets of snat" in caught.value.evidence


def test_an_event_and_a_packet_that_are_told_otherwise_are_noticed(folder):
    timeline, stream_file = folder / "timeline.jsonl", folder / "streams" / "snat.json"
    timeline.write_text(timeline.read_text().replace("g2 carries", "g1 carries"))
    data = json.loads(stream_file.read_text())
    data["received"][7][1] -= 1
    stream_file.write_text(json.dumps(data))
    with pytest.raises(Refused) as caught:
        runs.open_record(folder)
    assert "the events differ" in caught.value.evidence
    assert "packets of snat differ" in caught.value.evidence


def test_a_changed_end_and_a_missing_event_are_noticed(folder):
    for name, old, new in (("final.json", '"done"', '"dead"'),):
        path = folder / name
        path.write_text(path.read_text().replace(old, new))
    path = folder / "timeline.jsonl"
    path.write_text("".join(lines_of(path)[1:]))
    with pytest.raises(Refused) as caught:
        runs.open_record(folder)
    assert "final.json differs" in caught.value.evidence
    assert "events were recorded" in caught.value.evidence


def test_a_report_that_drops_an_acknowledged_write_is_an_error(tmp_path, monkeypatch):
    whole = records.save

    def forgetful(run, folder):
        whole(replace(run, writes=[write for write in run.writes if write.number != 40]), folder)

    monkeypatch.setattr(records, "save", forgetful)
    run = record()
    with pytest.raises(Bug) as caught:
        report.write_report(tmp_path / "run", run, DRILL, judge(run, DRILL.expect))
    assert "200 acknowledged writes were recorded, the folder holds 199" in caught.value.evidence
    assert not (tmp_path / "run" / "verdict.json").exists()


def test_a_write_that_was_dropped_before_it_was_saved_makes_the_run_invalid():
    written = [write for write in writes() if write.number != 40]
    run = record(written=written)
    verdict = judge(run, DRILL.expect)
    assert verdict.outcome is Outcome.INVALID
    assert "numbers 40" in verdict.reasons[0]
    assert flaws(record(written=[*writes(), writes()[3]]))
    assert not flaws(record(written=[]))
    assert not flaws(record())


def test_old_runs_are_judged_by_todays_rules(folder):
    stricter = replace(DRILL, expect=replace(DRILL.expect, streams={"*": 300.0}))
    before, after = report.rejudge(folder, stricter)
    assert (before.outcome, after.outcome) == (Outcome.PASS, Outcome.FAIL)
    assert any("the limit is 300 ms" in reason for reason in after.verdict.reasons)
    assert runs.open_verdict(folder).outcome is Outcome.FAIL
    assert "✗ FAIL" in (folder / "index.html").read_text()
    assert plain(runs.open_record(folder)) == plain(record())


def test_a_run_whose_verdict_was_lost_can_be_judged_anew(folder):
    (folder / "verdict.json").write_text("{}")
    with pytest.raises(UserError, match="verdict cannot be read"):
        runs.open_all(folder)
    before, after = report.rejudge(folder, DRILL)
    assert before is None
    assert after.outcome is Outcome.PASS


def test_folders_without_a_run_and_broken_runs_are_user_errors(tmp_path, folder):
    assert runs.find(folder) == [folder]
    assert runs.find(folder.parent) == [folder]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no run"):
        runs.find(tmp_path / "empty")
    (folder / "run.json").write_text("[]")
    with pytest.raises(UserError, match="cannot be read"):
        runs.open_record(folder)


def test_the_folder_is_named_after_drill_time_and_seed():
    assert report.folder_name(record().meta) == "gateway-crash-20260921T141311Z-7"
    assert report.folder_name(record(baseline=True).meta) == "gateway-crash-baseline-20260921T141311Z-7"


def test_versions_and_machine_are_filled_in(tmp_path):
    run = record(versions={}, machine={})
    report.write_report(tmp_path, run, DRILL, judge(run, DRILL.expect))
    meta = runs.open_record(tmp_path).meta
    assert set(meta.versions) == {"ovenbird", "ovn", "openvswitch", "kernel", "python"}
    assert int(meta.machine["processors"]) >= 1


def test_an_invalid_run_checks_no_invariant(tmp_path):
    run = record(verified=False)
    result = report.write_report(tmp_path, run, DRILL, judge(run, DRILL.expect))
    assert {one.state for one in result.invariants} == {"not checked"}


def test_an_invariant_without_evidence_is_not_called_held():
    run = replace(record(), timeline=())
    verdict = judge(run, DRILL.expect)
    assert verdict.outcome is Outcome.INVALID
    assert any("no evidence for one-leader-per-term" in reason for reason in verdict.reasons)
    assert not any("members-equal" in reason for reason in verdict.reasons)


# Logs.

LOG = """\
2026-09-21T14:13:00.000Z|00001|vlog|INFO|opened log file
2026-09-21T14:13:25.500Z|00002|raft|INFO|term 4
a line that belongs to the one before
{"at": "2026-09-21T14:13:26.001+00:00", "level": "info", "event": "agent.started"}
2026-09-21T15:00:00.000Z|00003|raft|INFO|much later
  of that time
"""


def test_logs_are_cut_to_the_time_of_the_run():
    kept = "".join(during(LOG.splitlines(keepends=True), at(0), at(20000)))
    assert kept.splitlines() == LOG.splitlines()[1:4]


def test_long_logs_say_what_was_left_out():
    text = "".join(f"line {number}\n" for number in range(1000))
    cut = capped(text, 400)
    assert len(cut) < 500
    assert cut.startswith("line 0\n")
    assert cut.endswith("line 999\n")
    left_out = int(cut.partition("[... ")[2].split()[0])
    assert left_out + len(cut) - len(cut.split("\n[...")[1].partition("]\n")[0]) - len("\n[...]\n") == len(text)
    assert capped(text, len(text)) == text


def test_logs_are_copied_beside_the_record(tmp_path):
    log = tmp_path / "ovs-vswitchd.log"
    log.write_text(LOG)
    run = record()
    logs = {"g1/ovs-vswitchd": log, "g1/gone": tmp_path / "none.log"}
    report.write_report(tmp_path / "run", run, DRILL, judge(run, DRILL.expect), logs=logs)
    assert "term 4" in (tmp_path / "run" / "logs" / "g1" / "ovs-vswitchd.log").read_text()
    assert "could not be read" in (tmp_path / "run" / "logs" / "g1" / "gone.log").read_text()


def test_the_order_of_streams_does_not_change_a_verdict(tmp_path):
    streams = [stream("snat", (FAULT_MS, FAULT_MS + 2000)), stream("floating-ip", (FAULT_MS, FAULT_MS + 1900))]
    run = record(*streams)
    report.write_report(tmp_path, run, DRILL, judge(run, DRILL.expect))
    before, after = report.rejudge(tmp_path, DRILL)
    assert set(before.verdict.reasons) == set(after.verdict.reasons)
    assert before.verdict.figures.outage_ms == pytest.approx(2000, abs=50)


def test_expectations_are_those_of_the_time(folder):
    limits = runs.open_verdict(folder).stream_limits_ms
    assert limits == {"east-west": Expect().others_ms, "floating-ip": 1500.0, "snat": 1500.0}
    assert at(1) - at(0) == NS_PER_MS
