"""Whether the reconciler gets anywhere: a leader may live, beat and write its heartbeat, and yet reconcile no more.

The reconciler tells when a turn begins, when part of it is done, and when it is over. What follows from it is decided
in `ovenbird.plan.election`. It must never take waiting for work for a turn: who has nothing to do is not stuck.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self


class Progress:
    """Since when the reconciler has been at one thing; a context manager around each of its turns."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.busy_since_s: float | None = None
        """Since a turn began, or part of it was done, by that clock; None between two turns."""

    def __enter__(self) -> Self:
        self.busy_since_s = self._clock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.busy_since_s = None

    def mark(self) -> None:
        """Note that part of a turn is done; between two turns it says nothing."""
        if self.busy_since_s is not None:
            self.busy_since_s = self._clock()
