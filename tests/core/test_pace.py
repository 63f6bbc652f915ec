import pytest

from ovenbird.process.pace import until_beat


@pytest.mark.parametrize(("now_s", "period_s", "left_s"), [(0.0, 0.2, 0.2), (10.05, 0.2, 0.15), (7.9, 1.0, 0.1)])
def test_the_next_beat_is_the_next_multiple_of_the_period(now_s, period_s, left_s):
    assert until_beat(now_s, period_s) == pytest.approx(left_s)


def test_slow_and_fast_parts_meet():
    slow = {round(beat + until_beat(beat, 1.0), 6) for beat in (0.3, 1.7, 2.9)}
    fast = {round(number * 0.25 + until_beat(number * 0.25, 0.25), 6) for number in range(40)}
    assert slow <= fast
