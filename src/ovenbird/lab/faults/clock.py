"""A host's clock that jumps: its agent, and what that starts, see another wall-clock time; the kernel's stays.

The agent is started anew with libfaketime (Debian package libfaketime) loaded into it; timers run on as they were, as
they do when a real clock is set. This module must never set a clock of the machine.
"""

from __future__ import annotations

import json
import signal
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from ovenbird.lab.faults.fault import Fault
from ovenbird.lab.node import start_agent
from ovenbird.lab.process import Process
from ovenbird.model.errors import Timeout, UserError

_LIBRARY = "*/faketime/libfaketimeMT.so.1"
_MARK = b"FAKETIME="
_END_TIMEOUT_S = 10.0


def library(root: Path = Path("/usr/lib")) -> Path | None:
    """Return where libfaketime is installed, or None."""
    return next(iter(sorted(root.glob(_LIBRARY))), None)


@dataclass(kw_only=True)
class ClockJump(Fault):
    """Let the agent of a node, and every daemon that it starts from then on, live in the future or the past."""

    kind: ClassVar[str] = "clock-jump"
    stored: ClassVar[tuple[str, ...]] = ("node", "offset_s")
    node: str
    offset_s: int = 3600

    def describe(self) -> str:
        """Return one line for people."""
        return f"clock of the agent on {self.node} {self.offset_s:+d} s"

    def available(self) -> str | None:
        """Say no without the library, or without an agent."""
        if self.offset_s == 0:
            raise UserError("a clock jump of 0 s", subject=self.node)
        self.lab.node(self.node).daemon("agent")
        return None if library() else "it needs the Debian package libfaketime"

    def act(self) -> None:
        """Start the agent anew with the library in it."""
        node, path = self.lab.node(self.node), library()
        assert path is not None
        self._end(node.daemon("agent"))
        start_agent(
            node,
            variables={
                "LD_PRELOAD": str(path),
                "FAKETIME": f"{self.offset_s:+d}",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            },
        )

    def bites(self) -> bool:
        """Whether the agent dates what it logs with the other time."""
        node = self.lab.node(self.node)
        agent, log = node.pids().get("agent"), node.logs().get("agent")
        if agent is None or log is None or not _is_marked(agent):
            return False
        last = log.read_text(encoding="utf-8", errors="replace").rstrip().rpartition("\n")[2]
        try:
            at_s = datetime.fromisoformat(json.loads(last)["at"]).timestamp()
        except (ValueError, KeyError):
            return False
        return abs(at_s - time.time() - self.offset_s) < max(30.0, abs(self.offset_s) / 10)

    def undo(self) -> None:
        """End whatever sees the other time and start the agent; the agent starts its daemons."""
        node = self.lab.node(self.node)
        for process in node.pids().values():
            if _is_marked(process):
                self._end(process)
        if node.is_up:
            start_agent(node)

    def _end(self, process: Process) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            process.signal(number)
            if process.wait_gone(timeout_s=_END_TIMEOUT_S):
                return
        raise Timeout(f"pid {process.pid} on {self.node} does not end", subject=self.node)


def _is_marked(process: Process) -> bool:
    try:
        return any(item.startswith(_MARK) for item in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0"))
    except OSError:
        return False
