"""How long each part of a run took: where a drill's time goes is measured, so that it can be cut.

This module must never decide anything by these times.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator


class Phases:
    """Named parts of a run and their lengths; a name that comes again adds to what it had."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        """Name -> seconds, in the order in which the parts began."""

    @contextlib.contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Measure one part, also one that fails."""
        began_s = time.monotonic()
        self.seconds.setdefault(name, 0.0)
        try:
            yield
        finally:
            self.seconds[name] += time.monotonic() - began_s

    def rounded(self) -> dict[str, float]:
        """Return the lengths with two decimals, as a run's record keeps them."""
        return {name: round(seconds, 2) for name, seconds in self.seconds.items()}
