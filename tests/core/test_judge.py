"""Verdicts on gateway drills, from records made by hand."""

from ovenbird.drill.result import Outcome

from ovenbird.drill.judge import Run, judge
from ovenbird.drill.outage import NS_PER_MS, Record

FAULT_MS, BACK_MS, END_MS = 2000, 8000, 12000


def stream(*silences: tuple[int, int], name: str = "snat") -> Record:
    """A stream at 5 ms spacing that delivers nothing during the silences (milliseconds, ends not included)."""
    times = range(0, END_MS + 5, 5)
    return Record(
        name=name,
        interval_ms=5,
        sent=[(i, at * NS_PER_MS) for i, at in enumerate(times)],
        received=[
            (i, at * NS_PER_MS) for i, at in enumerate(times) if not any(start < at < end for start, end in silences)
        ],
    )


def run(*records: Record, back_ms: int | None = BACK_MS, bit: bool = True) -> Run:
    return Run(
        name="gateway-crash",
        seed=1,
        records=records,
        load_start_ns=0,
        fault_ns=FAULT_MS * NS_PER_MS,
        back_ns=None if back_ms is None else back_ms * NS_PER_MS,
        end_ns=END_MS * NS_PER_MS,
        fault_bit=bit,
        detect_limit_ms=600,
    )


def test_outage_and_return_are_told_apart():
    result = judge(run(stream((2000, 2650), (8000, 8900))))
    assert result.outcome is Outcome.PASS
    assert result.outage_ms == 650
    assert result.return_outage_ms == 900
    assert result.back_in_service_ms == 6000
    assert result.noise_ms == 5


def test_a_return_without_a_gap_is_not_charged_with_the_outage_before():
    assert judge(run(stream((2000, 2650)))).return_outage_ms == 5


def test_the_worst_stream_counts():
    result = judge(run(stream((2000, 2100)), stream((2000, 2600), name="fip")))
    assert result.outage_ms == 600
    assert result.streams["snat"]["outage_ms"] == 100


def test_an_outage_far_over_detection_fails():
    result = judge(run(stream((2000, 3300))))
    assert result.outcome is Outcome.FAIL
    assert "1300 ms" in result.reasons[0]


def test_a_gateway_that_stays_away_fails():
    result = judge(run(stream((2000, 2600)), back_ms=None))
    assert result.outcome is Outcome.FAIL
    assert result.return_outage_ms is None


def test_a_fault_that_did_not_bite_proves_nothing():
    assert judge(run(stream())).outcome is Outcome.INVALID
    unverified = judge(run(stream((2000, 2600)), bit=False))
    assert unverified.outcome is Outcome.INVALID
    assert unverified.outage_ms is None


def test_a_load_below_its_floor_proves_nothing():
    result = judge(run(stream((500, 1000), (2000, 2600))))
    assert result.outcome is Outcome.INVALID
    assert "floor" in result.reasons[0]


def test_the_timeline_is_in_order_and_has_the_traffic_in_it():
    timeline = judge(run(stream((2000, 2650)))).to_json()["timeline"]
    assert [moment["at_ms"] for moment in timeline] == [0.0, 650.0]
