from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ovenbird.ovsdb import Backoff


@given(st.integers(0, 10**6), st.floats(0, 1, exclude_max=True))
def test_pauses_stay_between_zero_and_the_cap(failures, random):
    backoff = Backoff(first_ms=50, cap_ms=2000)
    assert 0 <= backoff.delay_ms(failures, random) <= 2000


@given(st.integers(1, 1000))
def test_pauses_never_shrink_and_reach_the_cap(failures):
    backoff = Backoff()
    assert backoff.delay_ms(failures + 1, 0.0) >= backoff.delay_ms(failures, 0.0) > 0
    assert backoff.delay_ms(1000, 0.0) == backoff.cap_ms


def test_the_first_attempt_is_free_and_clients_spread():
    backoff = Backoff(first_ms=100, jitter=0.5)
    assert backoff.delay_ms(0, 0.9) == 0
    assert backoff.delay_ms(1, 0.0) == 100
    assert backoff.delay_ms(1, 0.5) == 75
