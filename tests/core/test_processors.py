"""What the kernel tells about processors that the machine's own host took away."""

from __future__ import annotations

from ovenbird.drill.processors import STAT, stolen_ms, thefts
from ovenbird.drill.record import PROCESSOR_STOLEN

BEFORE = """\
cpu  739919 3461 420531 1268306 20770 0 72987 5388 0 0
cpu0 369919 1461 210531 634306 10770 0 36987 2688 0 0
cpu1 370000 2000 210000 634000 10000 0 36000 2700 0 0
intr 123 0 8
"""


def test_what_was_taken_of_each_processor_between_two_looks() -> None:
    before = stolen_ms(BEFORE)
    assert before == {"cpu0": 26_880.0, "cpu1": 27_000.0}
    now = stolen_ms(BEFORE.replace(" 2688 ", " 2689 ").replace(" 2700 ", " 2707 "))
    [theft] = thefts(before, now, at_ns=5)
    assert (theft.at_ns, theft.kind, theft.subject, theft.data) == (5, PROCESSOR_STOLEN, "cpu1", {"ms": 70.0})


def test_a_processor_that_came_later_lost_nothing_and_old_kernels_tell_nothing() -> None:
    assert thefts({}, stolen_ms(BEFORE), at_ns=5) == []
    assert stolen_ms("cpu  1 2 3 4\ncpu0 1 2 3 4\n") == {}


def test_this_machine_tells_it_of_each_processor() -> None:
    told = stolen_ms(STAT.read_text(encoding="ascii"))
    assert "cpu0" in told
    assert "cpu" not in told
