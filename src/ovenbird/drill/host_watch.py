"""Watches the hosts of a lab from outside: lines of level ERR or EMER in their daemons' logs, and daemons' processes.

Logs are read from where they end when the watch begins, whether or not their node is on. This is an observer: it must
never write, nor signal anything.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from ovenbird.drill.outage import NS_PER_MS
from ovenbird.drill.record import DAEMON_CHANGED, LOG_LINE, Event
from ovenbird.lab import process
from ovenbird.lab.lab import Lab
from ovenbird.lab.node import DAEMON_DIRECTORIES
from ovenbird.lab.node import Node as LabNode

LARGEST_READ = 4 << 20
"""Bytes read of one log at a time: a daemon that floods its log must not stop the watch."""
CLOCK_NS = 60_000_000_000
"""A line's own time is believed if it is no farther than this from ours: a drill may move a daemon's clock."""
_OVS_LINE = re.compile(r"^(\S+)\|\d+\|([^|]*)\|(ERR|EMER)\|(.*)$")
_OUR_LEVELS = {"error": "ERR", "critical": "EMER"}


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line of level ERR or EMER."""

    at_ns: int | None
    """None: the line does not say."""
    level: str
    text: str


def bad_line(line: str) -> BadLine | None:
    """Return what a log line says if it is bad: of OVS's daemons (ovs-vswitchd(8), vlog), or of ours (JSON)."""
    if match := _OVS_LINE.match(line):
        return BadLine(_unix_ns(match[1]), match[3], f"{match[2]}: {match[4]}")
    if not line.startswith("{"):
        return BadLine(None, "ERR", line) if line.startswith("Traceback ") else None
    try:
        data = json.loads(line)
    except ValueError:
        return None
    level = _OUR_LEVELS.get(str(data.get("level")))
    return None if level is None else BadLine(_unix_ns(str(data.get("at"))), level, str(data.get("event")))


def _unix_ns(text: str) -> int | None:
    try:
        return round(datetime.fromisoformat(text).timestamp() * 1000) * NS_PER_MS
    except ValueError:
        return None


class Node(Protocol):
    """What is asked of a host whose logs are watched."""

    @property
    def name(self) -> str:
        """Its name."""

    def logs(self) -> dict[str, Path]:
        """Return its log files by daemon."""


class Nodes(Protocol):
    """Hosts whose logs are watched: of a lab, or the one that a live drill runs on."""

    @property
    def nodes(self) -> Mapping[str, Node]:
        """The hosts by name."""


class LogTails:
    """All logs of all nodes, from now on."""

    def __init__(self, lab: Nodes) -> None:
        self._nodes = tuple(lab.nodes.values())
        self._read: dict[Path, int] = {}
        for path, _node, _daemon in self._logs():
            self._read[path] = path.stat().st_size

    def poll(self) -> list[Event]:
        """Return the bad lines that are new."""
        return [event for path, node, daemon in self._logs() for event in self._new(path, f"{node}/{daemon}")]

    def _logs(self) -> Iterator[tuple[Path, str, str]]:
        for node in self._nodes:
            for daemon, path in node.logs().items():
                yield path, node.name, daemon

    def _new(self, path: Path, subject: str) -> Iterator[Event]:
        start = self._read.get(path, 0)
        try:
            size = path.stat().st_size
            start = start if size >= start else 0
            if size == start:
                return
            with path.open("rb") as file:
                file.seek(start)
                data = file.read(LARGEST_READ)
        except OSError:
            return
        whole = data[: data.rfind(b"\n") + 1]
        self._read[path] = start + len(whole)
        now_ns = time.time_ns()
        for line in whole.decode("utf-8", "replace").splitlines():
            found = bad_line(line)
            if found is not None:
                at_ns = found.at_ns if found.at_ns and abs(found.at_ns - now_ns) < CLOCK_NS else now_ns
                what = f"{subject}: {found.level} {found.text}"
                data_ = {"level": found.level, "text": found.text}
                yield Event(at_ns=at_ns, kind=LOG_LINE, subject=subject, what=what, data=data_)


class DaemonPids:
    """The daemons of all nodes and the processes that they are."""

    def __init__(self, lab: Lab) -> None:
        self._nodes = tuple(lab.nodes.values())
        self._pids: dict[str, int] = {}

    def poll(self) -> list[Event]:
        """Return what has changed since the last look; the first look is told whole."""
        now = {f"{node.name}/{name}": pid for node in self._nodes for name, pid in _daemons(node).items()}
        changed = {name: now.get(name, 0) for name in {*now, *self._pids} if now.get(name, 0) != self._pids.get(name)}
        self._pids |= changed
        at_ns = time.time_ns()
        return [
            Event(
                at_ns=at_ns,
                kind=DAEMON_CHANGED,
                subject=name,
                what=f"{name} runs as process {pid}" if pid else f"{name} is gone",
                data={"pid": pid},
            )
            for name, pid in sorted(changed.items())
        ]


def _daemons(node: LabNode) -> dict[str, int]:
    """Return a node's daemons by the locks on their pid files: cheaper than `Node.pids`, as it is polled."""
    init = node.init
    if init is None:
        return {}
    found = {}
    for directory in DAEMON_DIRECTORIES:
        for path in Path(f"/proc/{init.pid}/root/run/{directory}").glob("*.pid"):
            owner = process.lock_owner(path)
            if owner is not None:
                found[path.stem] = owner.pid
    return found
