"""RAFT failpoints of the stock ovsdb-server (`ovs-appctl cluster/failure-test`): it fails at a chosen step.

This module must never leave a failpoint engaged in a server when the fault is healed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ovenbird.lab.faults.daemons import control_socket
from ovenbird.lab.faults.database_file import database, raft_status
from ovenbird.lab.faults.fault import Fault
from ovenbird.lab.process import Process
from ovenbird.model.errors import UserError

SCENARIOS = (
    "crash-before-sending-append-request",
    "crash-after-sending-append-request",
    "crash-before-sending-execute-command-reply",
    "crash-after-sending-execute-command-reply",
    "crash-before-sending-execute-command-request",
    "crash-after-sending-execute-command-request",
    "crash-after-receiving-append-request-update",
    "crash-before-sending-install-snapshot-reply",
    "delay-election",
    "dont-send-vote-request",
    "stop-raft-rpc",
    "transfer-leadership",
    "transfer-leadership-after-sending-append-request",
)
"""What OVS 3.1 knows; an unknown one is refused by the server."""
_TIMEOUT_S = 5


@dataclass(kw_only=True)
class RaftFailpoint(Fault):
    """Engage a failpoint in one member of a database. One at a time per server: a new one replaces the old."""

    kind: ClassVar[str] = "raft-failpoint"
    stored: ClassVar[tuple[str, ...]] = ("node", "daemon", "scenario", "process")
    node: str
    daemon: str
    scenario: str
    process: tuple[int, int] | None = None
    """pid and start time of the server."""
    _engaged: bool = False

    def describe(self) -> str:
        """Return one line for people."""
        return f"failpoint {self.scenario} in {self.daemon} on {self.node}"

    def available(self) -> str | None:
        """Say no when the server does not run or a failpoint is engaged in it already."""
        database(self.daemon)
        if self.scenario not in SCENARIOS:
            raise UserError(f"no failpoint {self.scenario}", subject=self.node, hint=", ".join(SCENARIOS))
        server = self.lab.node(self.node).daemon(self.daemon)
        self.process = (server.pid, server.start_ticks)
        mine = {"kind": self.kind, "node": self.node, "process": list(self.process)}
        taken = any(mine.items() <= item.items() for item in self.lab.file.require().faults)
        return "a failpoint is engaged in it already" if taken else None

    def act(self) -> None:
        """Engage the failpoint; the server says whether it knows it."""
        self._engaged = "engaged" in self._tell(self.scenario)

    def bites(self) -> bool:
        """Whether the server has engaged the failpoint, and, where it shows at once, its peers see the effect.

        A crash waits for its step of the protocol, and two scenarios for an election: there is nothing to see before.
        """
        if self.scenario != "stop-raft-rpc":
            return self._engaged
        return self._engaged and self._unheard()

    def undo(self) -> None:
        """Dismiss it in that very process, if it still lives; one that has crashed is its monitor's to start again."""
        if self.process is not None and Process(*self.process).is_alive and self.lab.node(self.node).is_up:
            self._tell("clear")

    def _tell(self, word: str) -> str:
        assert self.process is not None
        path = control_socket(self.daemon, Process(*self.process))
        command = ["ovs-appctl", "-T", str(_TIMEOUT_S), "-t", path, "cluster/failure-test", word]
        return self.lab.node(self.node).run(command, timeout_s=2 * _TIMEOUT_S).checked(subject=self.node).stdout

    def _unheard(self) -> bool:
        """Whether some peer leads and has not heard of this member for longer than an election takes."""
        mine = raft_status(self.lab.node(self.node), self.daemon)
        if mine is None:
            return False
        peers = [node for node in self.lab.nodes.values() if node.name != self.node and node.is_up]
        for status in (raft_status(peer, self.daemon) for peer in peers):
            if status is not None and status.is_leader:
                heard = [item.last_message_ms for item in status.members if item.address == mine.address]
                return all(age is None or age > status.election_timer_ms for age in heard)
        return False
