"""Python's cyclic garbage collector, kept out of the way of bulk loads.

Loading 60,000 rows makes a few hundred thousand long-lived objects and no cycles. The collector walks them again and
again: measured, it took four fifths of a plain `json.loads` of such a dump, and single full collections stopped the
event loop for 70 to 200 ms. So it pauses while a dump is decoded, and afterwards the rows are moved out of its sight
(`gc.freeze`); they are still freed by reference counting. The price: a cycle that is garbage at that very moment,
anywhere in the process, is not reclaimed. A pause must never outlive the load that asked for it.
"""

from __future__ import annotations

import gc

FREEZE_ROWS = 5000
"""Fewer new rows than this are left to the collector."""


class _Pauses:
    """How many loads are running; the collector is process-wide, and so is this count."""

    def __init__(self) -> None:
        self.running = 0
        self.was_enabled = False


_pauses = _Pauses()


class BulkLoad:
    """One load: `begin` may be called again and again, `end` always undoes it."""

    def __init__(self) -> None:
        self._running = False

    def begin(self) -> None:
        """Stop the collector until `end`."""
        if self._running:
            return
        self._running = True
        if _pauses.running == 0:
            _pauses.was_enabled = gc.isenabled()
            gc.disable()
        _pauses.running += 1

    def end(self, rows: int = 0) -> None:
        """Let the collector run again, without ever looking at what was loaded if that was much."""
        if not self._running:
            return
        self._running = False
        _pauses.running -= 1
        if rows >= FREEZE_ROWS:
            gc.freeze()
        if _pauses.running == 0 and _pauses.was_enabled:
            gc.enable()
