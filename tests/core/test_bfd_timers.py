"""BFD as fast as its hosts are, and who is to blame for a session that flapped."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovenbird.model.cluster import Bfd, Cluster, Timers
from ovenbird.plan.bfd_timers import WAITS_MS, Flap, Strain, bfd_timers, wait_class, warnings

FAST = Cluster(name="c", hosts=(), timers=Timers.FAST)
NOW_S = 1_000_000.0


def busy(waited_ms: int, host: str = "g1") -> Strain:
    return Strain(host=host, waited_ms=waited_ms)


@pytest.mark.parametrize(
    ("timers", "detect_ms"), [(Timers.CONSERVATIVE, 1500), (Timers.NORMAL, 600), (Timers.FAST, 150)]
)
def test_policies_on_quiet_hosts(timers: Timers, detect_ms: int) -> None:
    cluster = Cluster(name="c", hosts=(), timers=timers)
    assert bfd_timers(cluster, [busy(25), busy(50, "g2")], NOW_S).detect_ms == cluster.bfd.detect_ms == detect_ms
    assert list(warnings(cluster, [busy(25)], NOW_S)) == []


@pytest.mark.parametrize(("waited_ms", "interval_ms"), [(75, 50), (150, 50), (300, 100), (750, 200)])
def test_a_busy_host_slows_bfd_until_its_worst_wait_is_no_longer_than_detection_within_bounds(
    waited_ms: int, interval_ms: int
) -> None:
    assert bfd_timers(FAST, [busy(0), busy(waited_ms, "g2")], NOW_S).min_rx_ms == interval_ms


def test_timers_that_the_operator_has_fixed_are_kept() -> None:
    own = Bfd(min_rx_ms=20, min_tx_ms=20, mult=3)
    assert bfd_timers(Cluster(name="c", hosts=(), own_bfd=own), [busy(750)], NOW_S) == own


def test_slowed_timers_are_told_with_the_host_that_is_busy() -> None:
    (text,) = warnings(FAST, [busy(25), busy(300, "g2")], NOW_S)
    assert "300 ms instead of 150" in text
    assert "g2" in text


def test_a_flap_is_the_hosts_fault_only_if_it_was_busy_then() -> None:
    flap = Flap(peer="n1", at_s=NOW_S - 60, waited_ms=150)
    calm = Flap(peer="n2", at_s=NOW_S - 60, waited_ms=25)
    old = Flap(peer="n3", at_s=NOW_S - 3600, waited_ms=750)
    strain = Strain(host="g1", flaps=(flap, calm, old))
    assert bfd_timers(FAST, [strain], NOW_S).detect_ms == 300
    _, text = warnings(FAST, [strain], NOW_S)
    assert "BFD of g1 with n1 flapped 1 times" in text
    assert "150 ms" in text


def test_a_flap_while_the_hypervisor_had_the_processor_is_told_as_that() -> None:
    flap = Flap(peer="n1", at_s=NOW_S - 60, waited_ms=75, stolen_ms=150)
    strain = Strain(host="g1", flaps=(flap,))
    assert bfd_timers(FAST, [strain], NOW_S).detect_ms == 300
    slowed, text = warnings(FAST, [strain], NOW_S)
    assert "g1's own host" in slowed
    assert "BFD of g1 with n1 flapped 1 times" in text
    assert "its own host (a hypervisor) kept a processor from it for up to 150 ms" in text


@given(st.floats(min_value=0, max_value=5000), st.floats(min_value=0, max_value=5000))
def test_more_waiting_never_means_faster_timers(one_ms: float, other_ms: float) -> None:
    less, more = sorted((one_ms, other_ms))
    assert wait_class(less) in WAITS_MS
    slow, slower = (bfd_timers(FAST, [busy(wait_class(each))], NOW_S) for each in (less, more))
    assert slow.detect_ms <= slower.detect_ms
