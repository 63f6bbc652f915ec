"""How long a change of gateways was felt, as far as those concerned can tell."""

from __future__ import annotations

from typing import Any

import pytest

from ovenbird.plan.outage_estimate import NO_ESTIMATE, Estimate, Seen, estimate, read

AT_MS = 1_700_000_000_000
ANSWERED: dict[str, Any] = {"taken_ms": AT_MS - 20, "state": "answered", "answered_ms": 8}


def seen(
    cause: str,
    claim: dict[str, Any] | None = None,
    *,
    before: str = "g1",
    released_ms: int | None = None,
    bad: tuple[str, int] | None = None,
) -> Estimate:
    told = Seen(at_ms=AT_MS, before=before, cause=cause, claim=claim, released_ms=released_ms, detect_ms=600, bad=bad)
    return estimate(told)


def test_a_failover_by_bfd_lasts_from_the_last_bfd_packet_to_the_answer_of_the_outside() -> None:
    found = seen("failover", {**ANSWERED, "lost": {"g1": 30, "g3": 9000}})
    assert (found.detected_ms, found.outage_ms, found.outside_ms) == (600, 638, 8)
    assert "BFD to g1 down 30 ms before" in found.evidence


def test_a_failover_without_a_lost_session_is_not_guessed_at() -> None:
    found = seen("failover", {**ANSWERED, "lost": {"g3": 30}})
    assert (found.detected_ms, found.outage_ms, found.outside_ms) == (None, None, 8)
    assert "not seen" in found.evidence


@pytest.mark.parametrize(
    ("what", "noticed_ms", "outage_ms"), [("uplink", 440, 448), ("next hop of public", 790, 798), ("bridge", 440, 448)]
)
def test_what_was_measured_bad_is_felt_from_before_it_was_told(what: str, noticed_ms: int, outage_ms: int) -> None:
    found = seen("unfit", ANSWERED, bad=(what, 240))
    assert (found.detected_ms, found.outage_ms) == (noticed_ms, outage_ms)


def test_a_hung_controller_costs_traffic_nothing_but_the_move() -> None:
    assert seen("unfit", ANSWERED, bad=("ovn-controller", 2100)).outage_ms == 8


@pytest.mark.parametrize("cause", ["move", "drain", "rebalance", "failback"])
def test_a_planned_change_lasts_from_when_the_old_one_let_go(cause: str) -> None:
    assert seen(cause, ANSWERED, released_ms=AT_MS - 25).outage_ms == 13
    assert seen(cause, ANSWERED, released_ms=AT_MS + 100).outage_ms == 0
    assert seen(cause, ANSWERED).outage_ms == 8
    assert seen(cause, ANSWERED, released_ms=AT_MS - 60_000).outage_ms == 8
    assert seen(cause, ANSWERED, released_ms=AT_MS - 25).detected_ms is None


def test_one_that_never_let_go_goes_on_and_the_outside_knows_it() -> None:
    before = {**ANSWERED, "taken_ms": AT_MS - 40_000, "lost": {"g1": 30}}
    unfit = seen("unfit", before, bad=("uplink", 240))
    assert (unfit.detected_ms, unfit.outage_ms, unfit.outside) == (440, 440, "answered")
    assert seen("drain", before, released_ms=AT_MS - 25).outage_ms == 25
    assert seen("unfit", {**before, "taken_ms": AT_MS - 600_000}, bad=("uplink", 240)) == NO_ESTIMATE, (
        "it told long ago"
    )
    assert seen("failover", before) == NO_ESTIMATE, "what BFD said then says nothing of now"


def test_what_preempted_is_known_only_if_the_old_one_tells() -> None:
    assert seen("preempted", ANSWERED).outage_ms is None
    assert seen("preempted", ANSWERED, released_ms=AT_MS - 320).outage_ms == 308


def test_an_outage_does_not_end_before_the_outside_answers() -> None:
    lost = {"taken_ms": AT_MS, "lost": {"g1": 30}}
    for state in ("waiting", "silent"):
        found = seen("failover", {**lost, "state": state})
        assert (found.detected_ms, found.outage_ms, found.outside) == (600, None, state)
    nobody = seen("failover", {**lost, "state": "unknown"})
    assert nobody.outage_ms == 630
    assert "nobody outside could be asked" in nobody.evidence


def test_nothing_is_said_of_a_first_placing_a_partition_or_another_claim() -> None:
    assert seen("placed", ANSWERED, before="").outage_ms is None
    assert seen("partition", {**ANSWERED, "lost": {"g1": 30}}).outage_ms is None
    assert seen("failover") == NO_ESTIMATE
    assert seen("failover", {**ANSWERED, "taken_ms": AT_MS - 60_000}) == NO_ESTIMATE


def test_it_survives_the_database_and_odd_rows_are_nothing() -> None:
    found = seen("failover", {**ANSWERED, "lost": {"g1": 30}})
    assert read(found.to_json()) == found
    assert read({}) == read({"outage_ms": "much"}) == NO_ESTIMATE
