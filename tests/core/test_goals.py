"""Goals of gateways beside what was measured: what is met, what the noise hides, what is still to be run."""

from dataclasses import replace

import pytest
from tests.core.run_records import DRILL, FAULT_MS, record, stream

from ovenbird.drill import figures
from ovenbird.drill.catalogue import BY_NAME
from ovenbird.drill.goals import GOALS, HEADS, Goal, markdown, met, todo
from ovenbird.drill.judge import judge
from ovenbird.drill.judged import judged


def measured(*outages_ms, **meta):
    runs = []
    for outage_ms in outages_ms:
        made = record(stream("snat", (FAULT_MS, FAULT_MS + outage_ms)), stream("east-west"), **meta)
        runs.append((made.meta, judged(made, DRILL, judge(made, DRILL.expect))))
    return figures.measured(runs)


def row(text, event):
    return next(
        [cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if f"| {event} |" in line
    )


def test_every_goal_is_a_drill_s_and_a_figure_that_is_measured():
    side = measured(650)["drills"]["gateway-crash"]["ours"]
    assert {goal.drill for goal in GOALS} <= set(BY_NAME)
    assert all(goal.figure in side for goal in GOALS)


@pytest.mark.parametrize(
    ("worst", "lost", "noise", "word"),
    [
        (150.0, 150.0, 10.0, "yes"),
        (180.0, 180.0, 10.0, "yes"),
        (181.0, 181.0, 10.0, "no"),
        (181.0, 181.0, 190.0, "within the noise"),
        (181.0, 180.0, 10.0, "late only"),
        (181.0, None, 10.0, "no"),
    ],
)
def test_a_goal_is_met_by_the_worst_run_or_hidden_by_the_noise(worst, lost, noise, word):
    side = {"path_outage_ms": {"worst": worst}, "noise_ms": {"worst": noise}}
    side |= {} if lost is None else {"lost_ms": {"worst": lost}}
    assert met(side, "path_outage_ms", 180.0) == word
    assert met({}, "path_outage_ms", 180.0) == "not measured"


def test_the_goal_of_a_lost_gateway_follows_detection_and_never_exceeds_its_limit():
    goal = Goal(event="", drill="", limit_ms=200.0, is_by_detection=True)
    assert (goal.limit(150.0), goal.limit(600.0), goal.limit(None)) == (pytest.approx(180.0), 200.0, 200.0)


def test_the_page_has_the_worst_of_all_runs_beside_stock_and_noise():
    both = figures.merge(measured(600, 700, 650), measured(1300, baseline=True))
    cells = row(markdown(both), "ovs-vswitchd of the active gateway killed")
    assert (cells[2], cells[7], cells[8], cells[-1]) == ("3", "200", "no", "1")
    both["drills"]["gateway-crash"]["ours"]["detect_limits_ms"] = [150.0, 300.0]
    slowed = row(markdown(both), "ovs-vswitchd of the active gateway killed")
    assert (slowed[7], slowed[11]) == ("180", "150 to 300"), "slower timers do not make the goal an easier one"
    assert float(cells[5]) == pytest.approx(700, abs=10)
    assert float(cells[6]) == pytest.approx(700, abs=10), "all of it was lost"
    assert float(cells[12]) == pytest.approx(1300, abs=10)
    assert row(markdown(both), "drained")[8] == "not measured"
    assert len(cells) == len(HEADS)


def test_what_is_missing_is_still_to_be_run_and_invalid_runs_do_not_count():
    drills = [BY_NAME["gateway-crash"], BY_NAME["gateway-drain"]]
    nothing = todo({"drills": {}}, drills, repeat=2, stock=1)
    assert [(one.drill.name, one.baseline, one.runs) for one in nothing] == [
        ("gateway-crash", False, 2),
        ("gateway-crash", True, 1),
        ("gateway-drain", False, 2),
    ], "a planned move has no stock figure"
    some = todo(
        figures.merge(measured(600), measured(1300, baseline=True, verified=False)), drills[:1], repeat=2, stock=1
    )
    assert [(one.baseline, one.runs) for one in some] == [(False, 1), (True, 1)]
    assert todo(measured(600, 700), drills[:1], repeat=2, stock=0) == []
    assert replace(nothing[0], runs=4).expected_s == 2 * nothing[0].expected_s > 0
