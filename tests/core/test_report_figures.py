"""Figures over repeats, comparisons, published figures, JUnit."""

import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.run_records import DRILL, FAULT_MS, record, stream, with_log_line

from ovenbird.drill import figures
from ovenbird.drill.compare import compare
from ovenbird.drill.judge import judge
from ovenbird.drill.judged import Judged, judged
from ovenbird.drill.junit import junit
from ovenbird.drill.repeats import percentile, repeats, spread


def run(outage_ms=650, *, drill=DRILL, **meta):
    made = record(stream("snat", (FAULT_MS, FAULT_MS + outage_ms)), stream("east-west"), **meta)
    return made.meta, judged(made, drill, judge(made, drill.expect), checker="0.2.0")


# Repeats.


def test_a_percentile_is_a_run_that_was_measured():
    assert percentile([10, 20, 30, 40], 50) == 20
    assert percentile([10, 20, 30], 50) == 20
    assert percentile([7], 95) == 7
    assert percentile(list(range(1, 21)), 95) == 19


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60))
def test_percentiles_never_flatter(values):
    found = spread(values)
    assert found.p50 in values
    assert sum(value <= found.p50 for value in values) >= len(values) / 2
    assert found.best <= found.p50 <= found.worst
    if len(values) < 20:
        assert found.p95 is None
    else:
        assert found.p50 <= found.p95 <= found.worst
        assert sum(value <= found.p95 for value in values) >= 0.95 * len(values)


def test_invalid_runs_are_counted_and_give_no_figure():
    verdicts = [run(ms)[1].verdict for ms in (600, 700, 3000)] + [run(9000, verified=False)[1].verdict]
    found = repeats(verdicts)
    assert found.outcomes == {"pass": 2, "fail": 1, "invalid": 1}
    assert found.outage_ms.runs == 3
    assert found.noise_ms.runs == 3
    assert found.outage_ms.worst == pytest.approx(3000, abs=50)
    assert repeats([verdicts[-1]]).outage_ms is None
    assert repeats([]).outcomes == {"pass": 0, "fail": 0, "invalid": 0}


# Comparing.


def test_a_comparison_has_ratios_and_what_appeared():
    found = compare([run(600)[1]], [run(3000)[1]])
    outage = next(pair for pair in found.pairs if pair.figure == "outage_ms")
    assert outage.ratio == pytest.approx(5, abs=0.2)
    assert not outage.within_noise
    assert found.appeared == ("snat: over its limit",)
    assert found.gone == ()
    assert compare([run(3000)[1]], [run(600)[1]]).gone == found.appeared
    assert json.dumps(found.to_json())


def test_the_same_reason_with_another_figure_is_no_difference():
    found = compare([run(2000)[1]], [run(3000)[1]])
    assert (found.appeared, found.gone) == ((), ())


def test_a_difference_within_the_noise_is_called_so():
    found = compare([run(650)[1]], [run(652)[1]])
    assert next(pair for pair in found.pairs if pair.figure == "outage_ms").within_noise


def test_repeats_are_compared_by_their_percentiles():
    found = compare([run(ms)[1] for ms in (600, 650, 700)], [run(ms)[1] for ms in (900, 950)])
    assert {"outage_ms p50", "outage_ms worst"} <= {pair.figure for pair in found.pairs}
    assert "outage_ms p95" not in {pair.figure for pair in found.pairs}
    assert found.runs == (3, 2)


def test_a_violation_that_appeared_is_named():
    broken = with_log_line(record(), "internal error")
    whole = judged(record(), DRILL, judge(record(), DRILL.expect))
    found = compare([whole], [judged(broken, DRILL, judge(broken, DRILL.expect))])
    assert found.appeared == ("no-unannounced-error: violated",)


def test_a_verdict_survives_its_file():
    for _meta, each in (run(), run(3000), run(verified=False)):
        assert Judged.from_json(json.loads(json.dumps(each.to_json()))).to_json() == each.to_json()


# JUnit.


def test_junit_tells_pass_fail_invalid_and_expected_apart():
    expected = replace(DRILL, expected_failure="not yet \x00 <watched>")
    runs = [run(), run(3000), run(verified=False), run(3000, drill=expected), run(3000, baseline=True)]
    text = junit([(*one, False) for one in runs])
    suite = ElementTree.fromstring(text.encode())
    cases = suite.findall("testcase")
    assert [[child.tag for child in case if child.tag != "system-out"] for case in cases] == [
        [],
        ["failure"],
        ["error"],
        ["skipped"],
        [],
    ]
    counts = {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "5", "failures": "1", "errors": "1", "skipped": "1"}
    assert cases[3].find("skipped").get("message") == "not yet ? <watched>"
    assert float(cases[0].get("time")) == 29.0
    assert cases[4].get("classname") == "baseline.gateway-crash"


def test_junit_skips_an_invalid_run_that_another_was_made_for():
    text = junit([(*run(verified=False), True), (*run(), False)])
    suite = ElementTree.fromstring(text.encode())
    assert {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "2",
        "failures": "0",
        "errors": "0",
        "skipped": "1",
    }
    assert suite.find("testcase/skipped").get("message").startswith("run again, because it proved nothing: ")


# Published figures.


def rows(text):
    table = [line for line in text.splitlines() if line.startswith("| `")]
    return {line.split("`")[1]: [cell.strip() for cell in line.strip("|").split("|")] for line in table}


def column(text, drill, head, nth=0):
    return rows(text)[drill][[at for at, each in enumerate(figures.HEADS) if each == head][nth]]


NOOP = replace(DRILL, name="noop")


def both():
    return [run(600), run(650), run(700), run(1300, baseline=True), run(0, drill=NOOP)]


def test_figures_lay_ours_beside_stock():
    text = figures.markdown(figures.measured(both()), order=["noop", "gateway-crash"])
    assert list(rows(text)) == ["noop", "gateway-crash"]
    assert column(text, "gateway-crash", "Verdict") == "pass"
    assert float(column(text, "gateway-crash", "Outage p50")) == pytest.approx(650, abs=50)
    assert float(column(text, "gateway-crash", "worst")) == pytest.approx(700, abs=50)
    assert float(column(text, "gateway-crash", "Stock OVN p50")) == pytest.approx(1300, abs=50)
    assert float(column(text, "gateway-crash", "ICMP, UDP p50")) == pytest.approx(650, abs=50)
    assert column(text, "gateway-crash", "Ratio") == "2.0x"
    assert column(text, "gateway-crash", "Limit") == "1500"
    assert column(text, "gateway-crash", "Runs") == "3 [1]"
    assert column(text, "gateway-crash", "Invariants") == "held"
    assert column(text, "noop", "Stock OVN p50") == "-"
    assert column(text, "noop", "Verdict") == "invalid"
    assert "processors" not in text
    assert "cpus 2" in text
    assert all(len(row) == len(figures.HEADS) for row in rows(text).values())


def test_figures_are_merged_one_side_of_one_drill_at_a_time():
    old = figures.measured(both())
    new = figures.measured([run(900, versions={"ovn": "24.03"})])
    merged = json.loads(json.dumps(figures.merge(old, new)))
    assert figures.merge({}, old) == old
    assert merged["drills"]["noop"] == old["drills"]["noop"]
    assert merged["drills"]["gateway-crash"]["baseline"] == old["drills"]["gateway-crash"]["baseline"]
    text = figures.markdown(merged)
    assert float(column(text, "gateway-crash", "Outage p50")) == pytest.approx(900, abs=50)
    assert column(text, "gateway-crash", "Stock OVN p50").endswith(" [2]")
    assert old == figures.measured(both())


def test_a_row_that_was_measured_before_a_figure_was_known_stays_without_it():
    old = json.loads(json.dumps(figures.measured(both())))
    del old["drills"]["gateway-crash"]["ours"]["path_outage_ms"]
    text = figures.markdown(old)
    assert column(text, "gateway-crash", "ICMP, UDP p50") == "-"
    assert column(text, "gateway-crash", "Verdict") == "pass"


def test_one_failed_run_among_many_is_not_hidden():
    text = figures.markdown(figures.measured([run(600), run(600), run(3000)]))
    assert column(text, "gateway-crash", "Verdict") == "2 pass, 1 fail"
    assert "What did not pass" in text
    assert "the limit is 1500 ms" in text


def test_expected_failures_say_why():
    drill = replace(DRILL, expected_failure="no | watch")
    text = figures.markdown(figures.measured([run(3000, drill=drill)]))
    assert column(text, "gateway-crash", "Verdict") == "fail (expected)"
    assert "Expected today: no \\| watch." in text


def test_the_page_is_the_same_for_the_same_figures():
    found = figures.measured(both())
    assert figures.markdown(found) == figures.markdown(json.loads(json.dumps(found)))
