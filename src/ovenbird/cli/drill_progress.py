"""Tells on stderr how a series of drills goes: plain lines into a pipe, and a live last line on a terminal.

The time left is a guess from what the catalogue says of each drill, put right by how long the runs so far took. This
module must never write to stdout, which is for data.
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

import click

from ovenbird.cli.output import say

if TYPE_CHECKING:
    from ovenbird.drill.script import Drill

REFRESH_S = 0.5
COLOURS = {"pass": "green", "fail": "red", "invalid": "yellow", "not run": "yellow"}


class Progress:
    """The audience of a suite. Use as a context manager: it owns the terminal's last line meanwhile."""

    def __init__(self, planned: Sequence[Drill], repeat: int) -> None:
        self._planned = [drill for drill in planned for _ in range(repeat)]
        self._began_s = time.monotonic()
        self._done_s = self._guessed_s = 0.0
        """Seconds that finished runs took, and that had been guessed of them."""
        self._now: tuple[Drill, float, str] | None = None
        """The drill that runs, when it began, and its number."""
        self._doing = ""
        self._is_terminal = sys.stderr.isatty()
        self._over = threading.Event()
        self._mutex = threading.Lock()
        self._thread = threading.Thread(target=self._refresh, name="progress", daemon=True)

    def __enter__(self) -> Progress:
        """Begin."""
        if self._is_terminal:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the last line back."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2 * REFRESH_S)
        with self._mutex:
            self._clear()

    def begins(self, drill: Drill, *, number: int, of: int) -> None:
        """Tell that a run begins."""
        self._now, self._doing = (drill, time.monotonic(), f"[{number}/{of}]"), ""
        self._line(f"[{number}/{of}] {drill.name}: {drill.what}{self._left()}")

    def tell(self, what: str) -> None:
        """Tell a line of the run."""
        self._doing = what
        began_s = self._now[1] if self._now else self._began_s
        self._line(f"  {time.monotonic() - began_s:5.1f} s  {what}")

    def ended(self, drill: Drill, outcome: str, reasons: Sequence[str]) -> None:
        """Tell what came of a run."""
        if self._now is not None:
            self._done_s += time.monotonic() - self._now[1]
            self._guessed_s += drill.expected_s
            self._now = None
        if drill in self._planned:
            self._planned.remove(drill)
        word = next((word for word in COLOURS if outcome.startswith(word)), "pass")
        self._line(f"  {drill.name}: {click.style(outcome, fg=COLOURS[word], bold=True)}")
        for reason in reasons:
            if reason:
                self._line(f"    {reason}")

    def left_s(self) -> float:
        """Return the guessed seconds until all is done."""
        pace = self._done_s / self._guessed_s if self._guessed_s else 1.0
        spent_s = time.monotonic() - self._now[1] if self._now else 0.0
        return max(0.0, sum(drill.expected_s for drill in self._planned) * pace - spent_s)

    def _left(self) -> str:
        left_s = self.left_s()
        return f" ({_duration(time.monotonic() - self._began_s)} so far, about {_duration(left_s)} left)"

    def _line(self, text: str) -> None:
        with self._mutex:
            self._clear()
            say(text)

    def _clear(self) -> None:
        if self._is_terminal:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()

    def _refresh(self) -> None:
        while not self._over.wait(REFRESH_S):
            now = self._now
            if now is None:
                continue
            drill, began_s, number = now
            text = f"{number} {drill.name} {time.monotonic() - began_s:.0f} s{self._left()}  {self._doing}"
            width = shutil.get_terminal_size().columns
            with self._mutex:
                self._clear()
                sys.stderr.write(click.style(text[: width - 1], dim=True))
                sys.stderr.flush()


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
