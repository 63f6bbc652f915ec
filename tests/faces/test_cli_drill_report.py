"""`drill report`, `compare`, `rejudge` and `figures` on the folders of runs made by hand."""

import json
import shutil

import pytest
from click.testing import CliRunner
from tests.core.run_records import FAULT_MS, record, stream

from ovenbird.cli import drill_report
from ovenbird.drill.catalogue import BY_NAME
from ovenbird.drill.judge import judge
from ovenbird.drill.report import folder_name, write_report
from ovenbird.model.errors import UserError

DRILL = BY_NAME["gateway-crash"]


def write(folder, outage_ms, **meta):
    lost = (FAULT_MS, FAULT_MS + outage_ms)
    run = record(stream("snat", lost), stream("floating-ip", lost), stream("east-west"), **meta)
    target = folder / folder_name(run.meta)
    write_report(target, run, DRILL, judge(run, DRILL.expect))
    return target


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    for seed, outage_ms in ((1, 600), (2, 700), (3, 3000)):
        write(folder, outage_ms, seed=seed)
    return folder


def call(command, *args, status=0):
    result = CliRunner().invoke(command, [str(arg) for arg in args])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == status, result.output
    return result.stdout


def one(reports, seed):
    return next(path for path in reports.iterdir() if path.name.endswith(f"-{seed}"))


def test_report_prints_the_verdict_and_where_the_page_is(reports):
    folder = one(reports, 3)
    (folder / "index.html").unlink()
    text = call(drill_report.report, folder)
    assert "gateway-crash: FAIL" in text
    assert "the limit is 1500 ms" in text
    assert f"page: {folder / 'index.html'}" in text
    assert (folder / "index.html").stat().st_size > 10_000
    data = json.loads(call(drill_report.report, folder, "-o", "json"))
    assert data["outcome"] == "fail"
    assert data["seed"] == 3
    assert data["page"] == str(folder / "index.html")


def test_report_of_several_runs_prints_their_repeats(reports):
    text = call(drill_report.report, reports)
    assert "2 pass, 1 fail" in text
    data = json.loads(call(drill_report.report, reports, "-o", "json"))
    outage = data["drills"]["gateway-crash"]["outage_ms"]
    assert outage["p50"] == pytest.approx(700, abs=60)
    assert outage["worst"] == pytest.approx(3000, abs=60)
    assert outage["p95"] is None
    assert len(data["runs"]) == 3


def test_compare_shows_ratio_and_what_appeared(reports):
    text = call(drill_report.compare, one(reports, 1), one(reports, 3))
    assert "appeared: snat: over its limit" in text
    data = json.loads(call(drill_report.compare, one(reports, 1), one(reports, 3), "-o", "json"))
    assert data["figures"][0]["ratio"] == pytest.approx(5, abs=0.5)


def test_rejudge_by_the_same_rules_changes_nothing(reports, tmp_path):
    folder = shutil.copytree(one(reports, 1), tmp_path / "run")
    assert call(drill_report.rejudge, folder).startswith("PASS, as before")
    folder = shutil.copytree(one(reports, 3), tmp_path / "late")
    assert call(drill_report.rejudge, folder, status=1).startswith("FAIL, as before")


def test_rejudge_says_what_todays_rules_change(reports, tmp_path):
    folder = shutil.copytree(one(reports, 3), tmp_path / "run")
    verdict = json.loads((folder / "verdict.json").read_text())
    (folder / "verdict.json").write_text(json.dumps({**verdict, "outcome": "pass", "reasons": []}))
    text = call(drill_report.rejudge, folder, status=1)
    assert text.startswith("PASS -> FAIL")
    assert "appeared: snat: over its limit" in text
    assert json.loads((folder / "verdict.json").read_text())["outcome"] == "fail"


def test_a_drill_of_another_catalogue_cannot_be_judged_anew(tmp_path):
    folder = write(tmp_path, 600, drill="gateway-of-old")
    with pytest.raises(UserError, match="no drill gateway-of-old"):
        call(drill_report.rejudge, folder)


def test_figures_keep_the_rows_that_were_not_measured(reports, tmp_path):
    call(drill_report.figures, reports, "--into", tmp_path)
    first = json.loads((tmp_path / "figures.json").read_text())
    assert first["drills"]["gateway-crash"]["ours"]["outcomes"] == {"pass": 2, "fail": 1, "invalid": 0}
    first["drills"]["noop"] = first["drills"]["gateway-crash"]
    (tmp_path / "figures.json").write_text(json.dumps(first))
    call(drill_report.figures, one(reports, 1), one(reports, 2), "--into", tmp_path)
    second = json.loads((tmp_path / "figures.json").read_text())
    assert second["drills"]["gateway-crash"]["ours"]["seeds"] == [1, 2]
    assert second["drills"]["noop"] == first["drills"]["noop"]
    page = (tmp_path / "figures.md").read_text()
    assert page.index("| `noop`") < page.index("| `gateway-crash` | pass")


def test_broken_figures_are_not_overwritten(reports, tmp_path):
    (tmp_path / "figures.json").write_text("{")
    with pytest.raises(UserError, match="no JSON"):
        call(drill_report.figures, reports, "--into", tmp_path)
    assert (tmp_path / "figures.json").read_text() == "{"


def test_folders_with_several_drills_are_compared_drill_by_drill(reports, tmp_path):
    write(tmp_path, 1300, seed=11)
    write(tmp_path, 3000, seed=12, baseline=True)
    data = json.loads(call(drill_report.compare, reports, tmp_path, "-o", "json"))
    assert data["drills"].keys() == {"gateway-crash"}
    assert data["drills"]["gateway-crash"]["runs"] == [3, 1]
    assert (data["only_before"], data["only_after"]) == ([], ["gateway-crash (baseline)"])
    text = call(drill_report.compare, reports, tmp_path)
    assert "only after: gateway-crash (baseline)" in text
