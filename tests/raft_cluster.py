"""Real clustered ovsdb-servers on loopback, in the foreground, for tests and benchmarks.

Every member is a child process of ours with its files in a directory of its own, so ending the children and removing
the directory leaves nothing behind.
"""

from __future__ import annotations

import re
import signal
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tests.waiting import eventually_sync

NB_SCHEMA = Path("/usr/share/ovn/ovn-nb.ovsschema")
SB_SCHEMA = Path("/usr/share/ovn/ovn-sb.ovsschema")
OVENBIRD_SCHEMA = Path(__file__).parent.parent / "src/ovenbird/ovenbird.ovsschema"
COMMAND_DEADLINE_S = 10.0


def free_ports(count: int) -> list[int]:
    """Return TCP ports that nobody on loopback listens on just now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def run(*command: str) -> str:
    """Run a command to its end within a deadline; its output, or CalledProcessError."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_DEADLINE_S, check=True)
    return done.stdout


@dataclass
class Member:
    """One member of a RAFT database."""

    directory: Path
    database: str
    client_port: int
    raft_port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def control(self) -> Path:
        return self.directory / "db.ctl"

    @property
    def file(self) -> Path:
        return self.directory / "db"

    @property
    def remote(self) -> str:
        return f"tcp:127.0.0.1:{self.client_port}"

    @property
    def raft_address(self) -> str:
        return f"tcp:127.0.0.1:{self.raft_port}"

    def start(self) -> None:
        command = [
            "ovsdb-server",
            f"--unixctl={self.control}",
            f"--remote=ptcp:{self.client_port}:127.0.0.1",
            f"--log-file={self.directory / 'log'}",
            "-vconsole:off",
            str(self.file),
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def status(self) -> str:
        """Answer of cluster/status, or "" when the member does not answer."""
        if self.process is None or self.process.poll() is not None:
            return ""
        try:
            return run("ovs-appctl", "-T", "2", "-t", str(self.control), "cluster/status", self.database)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            return ""

    @property
    def is_leader(self) -> bool:
        return re.search(r"^Role: leader$", self.status(), re.M) is not None

    @property
    def is_settled(self) -> bool:
        status = self.status()
        return "Status: cluster member" in status and re.search(r"^Leader: (?!unknown)", status, re.M) is not None

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it as kill -9 does."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGCONT)
                self.process.kill()
            self.process.wait(timeout=COMMAND_DEADLINE_S)
            self.process = None


class RaftDatabase:
    """One database as a RAFT cluster of `size` members."""

    def __init__(
        self, directory: Path, name: str, schema: Path, *, size: int = 3, election_timer_ms: int = 1000
    ) -> None:
        self.name = name
        self.schema = schema
        self.election_timer_ms = election_timer_ms
        ports = free_ports(2 * size)
        self.members = [
            Member(directory / f"{name}-{index}", name, ports[2 * index], ports[2 * index + 1]) for index in range(size)
        ]

    @property
    def remotes(self) -> tuple[str, ...]:
        return tuple(member.remote for member in self.members)

    def __enter__(self) -> RaftDatabase:
        first, *others = self.members
        for member in self.members:
            member.directory.mkdir(parents=True)
        timer = f"--election-timer={self.election_timer_ms}"
        run("ovsdb-tool", timer, "create-cluster", str(first.file), str(self.schema), first.raft_address)
        for member in others:
            run("ovsdb-tool", "join-cluster", str(member.file), self.name, member.raft_address, first.raft_address)
        try:
            for member in self.members:
                member.start()
            self.wait_settled(self.members)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def wait_settled(self, members: Sequence[Member], *, within_s: float = 30.0) -> None:
        """Wait until every one of the members is a member of the cluster and knows a leader."""

        def settled() -> bool:
            unsettled = [member.status() for member in members if not member.is_settled]
            assert not unsettled, f"{self.name}: {unsettled}"
            return True

        eventually_sync(settled, within_s=within_s)

    def leader(self, *, within_s: float = 20.0) -> Member:
        """Return the member that leads; waits for one."""

        def leading() -> Member:
            found = next((member for member in self.members if member.is_leader), None)
            assert found is not None, f"{self.name}: no leader: {[member.status() for member in self.members]}"
            return found

        return eventually_sync(leading, within_s=within_s)

    def stop(self) -> None:
        for member in self.members:
            member.kill()
