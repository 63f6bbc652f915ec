"""What the kernel tells about processors that the machine's own host took away."""

from __future__ import annotations

from ovenbird.drill.processors import thefts
from ovenbird.drill.record import PROCESSOR_STOLEN
from ovenbird.process.stolen import parsed, stolen_ms, taken_ms

BEFORE = """\
cpu  739919 3461 420531 1268306 20770 0 72987 5388 0 0
cpu0 369919 1461 210531 634306 10770 0 36987 2688 0 0
cpu1 370000 2000 210000 634000 10000 0 36000 2700 0 0
intr 123 0 8
"""


def test_what_was_taken_of_each_processor_between_two_looks() -> None:
    before = parsed(BEFORE)
    assert before == {"cpu0": 26_880.0, "cpu1": 27_000.0}
    now = parsed(BEFORE.replace(" 2688 ", " 2689 ").replace(" 2700 ", " 2707 "))
    assert taken_ms(before, now) == {"cpu0": 10.0, "cpu1": 70.0}
    assert taken_ms({}, now) == {}, "a processor that came later lost nothing"


def test_a_line_that_is_cut_off_and_a_kernel_that_does_not_count_say_nothing() -> None:
    assert parsed(BEFORE[: BEFORE.index(" 2700 ") + 3]) == {"cpu0": 26_880.0}
    assert parsed("cpu  1 2 3 4\ncpu0 1 2 3 4\n") == {}


def test_this_machine_tells_it_of_each_processor() -> None:
    told = stolen_ms()
    assert "cpu0" in told
    assert "cpu" not in told


def test_what_is_everyday_is_no_event() -> None:
    [theft] = thefts({"cpu0": 10.0, "cpu1": 70.0}, before_ns=1_000_000, at_ns=56_000_000)
    assert (theft.at_ns, theft.kind, theft.subject) == (56_000_000, PROCESSOR_STOLEN, "cpu1")
    assert theft.data == {"ms": 70.0, "between_ms": 55.0}
