"""Where things are on a plot: its measures, and a share of the run's time laid over its width. Pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from ovenbird.drill.outage import NS_PER_MS

WIDTH, LEFT, RIGHT = 1200.0, 216.0, 16.0
COLUMNS = 660
"""Columns of a stream's plot: two per three pixels of a 1280-pixel page."""
TOP = 40.0
"""Above it are the fault's bars."""
COLOURS = 8
"""Nodes have a colour each; with more nodes than that, colours repeat, names do not."""
CHARACTER = 6.4
"""Width of a letter in a lane, at most, in units of the plot."""
NS_PER_S = 1_000 * NS_PER_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A share of the run's time, and where it lies on the plot."""

    name: str
    title: str
    start_ns: int
    end_ns: int
    zero_ns: int
    """What the axis calls 0: the fault."""

    def x(self, at_ns: int) -> float:
        """Return the place of a time, kept inside the plot."""
        share = (at_ns - self.start_ns) / max(1, self.end_ns - self.start_ns)
        return LEFT + min(1.0, max(0.0, share)) * (WIDTH - LEFT - RIGHT)

    def shows(self, start_ns: int, end_ns: int) -> bool:
        """Tell whether any part of a time lies inside."""
        return start_ns < self.end_ns and end_ns >= self.start_ns

    def seconds(self, at_ns: int | None) -> str:
        """Return a time as people read it, in seconds from the fault."""
        return "?" if at_ns is None else f"{(at_ns - self.zero_ns) / NS_PER_S:+.3f} s"
