"""Damage to a member's database file: cut off, emptied, a bit flipped, an old copy put back, lost.

The server is ended, the file is kept aside and edited, and the host's agent is left to deal with what it finds.
This module must never leave a file damaged of which it has not kept the original first.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from ovenbird.lab.faults.daemons import control_socket
from ovenbird.lab.faults.fault import Fault
from ovenbird.lab.node import ALIASES, Node
from ovenbird.lab.process import Process
from ovenbird.model.cluster import Database
from ovenbird.model.errors import Timeout, UserError
from ovenbird.model.layout import Layout
from ovenbird.model.raft_status import RaftStatus, parse_raft_status

Damage = Literal["truncate", "empty", "bit-flip", "old-copy", "lose"]
_END_TIMEOUT_S = 5.0
_RECORD = re.compile(rb"OVSDB CLUSTER (\d+) [0-9a-f]{40}\n")


def database(daemon: str) -> Database:
    """Return the RAFT database that a daemon serves; raises `UserError` if it serves none."""
    for found in Database:
        if daemon in (found.short, ALIASES[found.short]):
            return found
    raise UserError(f"{daemon} serves no RAFT database", subject=daemon, hint="nb, sb or ovenbird")


def raft_status(node: Node, daemon: str) -> RaftStatus | None:
    """Return what a node's member of a database says of itself; None when it does not run or does not answer."""
    server = node.pids().get(ALIASES[database(daemon).short])
    if server is None:
        return None
    command = ["ovs-appctl", "-T", "3", "-t", control_socket(daemon, server), "cluster/status", database(daemon).value]
    answer = node.run(command, timeout_s=6)
    return parse_raft_status(answer.stdout) if answer.ok else None


@dataclass(kw_only=True)
class DatabaseDamage(Fault):
    """End a database server, damage its file, and let the agent start it again."""

    kind: ClassVar[str] = "db-damage"
    stored: ClassVar[tuple[str, ...]] = ("node", "daemon", "how")
    node: str
    daemon: str
    how: Damage = "truncate"
    amount: int = 0
    """truncate: bytes (default 7); old-copy: records (default 10); bit-flip: byte (default: the file's middle)."""
    _damaged: bool = False

    def describe(self) -> str:
        """Return one line for people."""
        return f"database file of {self.daemon} on {self.node}: {self.how}"

    def available(self) -> str | None:
        """Say no when there is no file, or it is too short to be damaged in this way."""
        if self.how not in ("truncate", "empty", "bit-flip", "old-copy", "lose"):
            raise UserError(f"no way to damage a file: {self.how}", subject=self.node)
        database(self.daemon)
        if not self.lab.node(self.node).is_up:
            return "the node is off"
        if not self._file.exists():
            return f"it has no file {self._file}"
        try:
            damaged(self._file.read_bytes(), self.how, self.amount)
        except ValueError as error:
            return str(error)
        return None

    def act(self) -> None:
        """End the server, keep the file aside, damage it, let the agent go on."""
        with self._agent_stopped():
            self._end_server()
            self.directory.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._file, self._original)
            data = damaged(self._original.read_bytes(), self.how, self.amount)
            if data is None:
                self._file.unlink()
                self._damaged = not self._file.exists()
            else:
                self._file.write_bytes(data)
                self._damaged = _digest(self._file) != _digest(self._original)

    def bites(self) -> bool:
        """Whether the server was ended, and the file that it left was found changed before the agent went on."""
        return self._damaged

    def undo(self) -> None:
        """Put the original back if nothing can be made of the file.

        A file that can be served is left alone: since the damage its server may have voted or acknowledged, and a
        member must never forget what it has promised (Ongaro, Raft, section 3.8).
        """
        node = self.lab.node(self.node)
        node.require_init()
        agent = node.pids().get("agent")
        if agent is not None and agent.state == "T":
            agent.signal(signal.SIGCONT)
        if not self._original.exists() or self._server is not None or self._is_servable():
            return
        with self._agent_stopped():
            self._end_server()
            whole = self._file.with_suffix(".whole")
            shutil.copyfile(self._original, whole)
            whole.replace(self._file)

    def _is_servable(self) -> bool:
        node = self.lab.node(self.node)
        return node.run(["ovsdb-tool", "db-sid", str(self._inside)], timeout_s=10).ok

    @property
    def _server(self) -> Process | None:
        return self.lab.node(self.node).pids().get(ALIASES[database(self.daemon).short])

    @property
    def _inside(self) -> Path:
        return Layout().database_file(database(self.daemon))

    @property
    def _file(self) -> Path:
        return self.lab.node(self.node).path(str(self._inside))

    @property
    def _original(self) -> Path:
        return self.directory / "original.db"

    @contextlib.contextmanager
    def _agent_stopped(self) -> Iterator[None]:
        """Keep the agent from starting the server again in the meantime."""
        agent = self.lab.node(self.node).pids().get("agent")
        stop = agent is not None and agent.state != "T" and agent.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            if stop and agent is not None:
                agent.signal(signal.SIGCONT)

    def _end_server(self) -> None:
        server = self._server
        if server is None:
            return
        # OVS's monitor starts a child again after some signals, but after neither of these.
        for number in (signal.SIGTERM, signal.SIGKILL):
            server.signal(number)
            if server.wait_gone(timeout_s=_END_TIMEOUT_S):
                return
        raise Timeout(f"{self.daemon} on {self.node} does not end", subject=self.node)


def damaged(data: bytes, how: Damage, amount: int) -> bytes | None:
    """Return a file's content after damage, None for a lost file; raises `ValueError` when it is too short for that."""
    if how == "lose":
        return None
    if how == "empty":
        return b""
    if how == "truncate":
        cut = amount or 7
        if len(data) <= cut:
            raise ValueError(f"the file has only {len(data)} bytes")
        return data[:-cut]
    if how == "bit-flip":
        place = amount or len(data) // 2
        if place >= len(data):
            raise ValueError(f"the file has only {len(data)} bytes")
        return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    return data[: _old_length(data, amount or 10)]


def _old_length(data: bytes, records: int) -> int:
    """Return how long the file was so many records ago: it is a log, so its beginning is an older copy of it."""
    starts = []
    place = 0
    while (found := _RECORD.match(data, place)) is not None:
        starts.append(place)
        place = found.end() + int(found.group(1))
    if len(starts) < records + 2:  # the header, and the snapshot or first entry, were there from the beginning
        raise ValueError(f"the log has only {len(starts)} records")
    return starts[-records]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
