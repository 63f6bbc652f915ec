"""A node whose processors are busy with other people's work: processes of ordinary priority that only compute.

This module must never leave one running: each ends by itself after a time, and all are found by a mark.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ovenbird.lab.faults.fault import Fault
from ovenbird.lab.process import Process

MARK = "ovenbird-cpu-load"
LONGEST_S = 300
START_TIMEOUT_S = 10.0


@dataclass(kw_only=True)
class CpuLoad(Fault):
    """Keep processors busy; healed by ending the processes."""

    kind: ClassVar[str] = "cpu-load"
    stored: ClassVar[tuple[str, ...]] = ("node", "processes")
    node: str
    processes: int = 2

    def describe(self) -> str:
        """Return one line for people."""
        return f"{self.processes} busy processes on {self.node}"

    def available(self) -> str | None:
        """Say no when there are some already."""
        return "it is loaded already" if self._running() else None

    def act(self) -> None:
        """Start them; each a session of its own, so that nothing waits for them."""
        busy = f"setsid timeout {LONGEST_S} sh -c ': {MARK}; while :; do :; done' < /dev/null > /dev/null 2>&1 &"
        words = ["sh", "-c", busy * self.processes]
        self.lab.node(self.node).run(words, timeout_s=START_TIMEOUT_S).checked(subject=self.node)

    def bites(self) -> bool:
        """Whether all of them run."""
        return len(self._running()) >= self.processes

    def undo(self) -> None:
        """End them."""
        for process in self._running():
            process.signal(signal.SIGKILL)

    def _running(self) -> list[Process]:
        return [process for process in self.lab.node(self.node).processes() if _is_marked(process)]


def _is_marked(process: Process) -> bool:
    try:
        return MARK.encode() in Path(f"/proc/{process.pid}/cmdline").read_bytes()
    except OSError:
        return False
