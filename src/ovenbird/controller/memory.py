"""How the collector of a process that holds copies of whole databases is set.

Such a process makes millions of small, long-lived, acyclic objects, and the default looks through the young ones after
every 700: measured, half of the time of a large apply. Memory is freed by reference counts all the same; only cycles
wait longer. For the whole process, so for programs to call, never for the controller itself.
"""

from __future__ import annotations

import gc

YOUNG_OBJECTS = 500_000
YOUNG_ROUNDS = 5
MIDDLE_ROUNDS = 20


def expect_many_objects() -> None:
    """Let the collector look less often."""
    gc.set_threshold(YOUNG_OBJECTS, YOUNG_ROUNDS, MIDDLE_ROUNDS)
