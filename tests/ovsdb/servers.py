"""Real ovsdb-servers in private directories, for any test that needs one.

    async with OvsdbServer() as server:            # standalone, NB schema, unix socket and loopback TCP
        Client("OVN_Northbound", [server.remote])
    async with OvsdbCluster(3) as cluster:         # RAFT over loopback
        Client("OVN_Northbound", cluster.remotes)

Servers are children of the test process and are killed by their handle; the directory goes with them.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tests.waiting import eventually

from ovenbird.ovsdb import DeadlineExceeded, OvsdbError, Tls, probe_server, unixctl

NB_SCHEMA = Path("/usr/share/ovn/ovn-nb.ovsschema")
START_S = 15.0


def free_port() -> int:
    """Return a TCP port of the loopback interface that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tool(*arguments: str | Path) -> str:
    """Run ovsdb-tool."""
    done = subprocess.run(["ovsdb-tool", *map(str, arguments)], check=True, capture_output=True, text=True, timeout=30)
    return done.stdout


class OvsdbServer:
    """One ovsdb-server process with one database file, which survives `stop` and `kill`."""

    def __init__(
        self,
        *,
        schema: Path = NB_SCHEMA,
        tls: Tls | None = None,
        create: Sequence[str] | None = None,
        directory: Path | None = None,
        host: str = "127.0.0.1",
        extra: Sequence[str] = (),
    ) -> None:
        """`create`: how ovsdb-tool makes the file, for instance ("create-cluster", address); `extra`: more options."""
        self._own_directory = directory is None
        self.directory = directory or Path(tempfile.mkdtemp(prefix="ovsdb-"))
        self.schema = schema
        self.database: str = json.loads(schema.read_text(encoding="utf-8"))["name"]
        self.file = self.directory / "db.db"
        self.socket = self.directory / "db.sock"
        self.ctl = self.directory / "db.ctl"
        self.log = self.directory / "server.log"
        self.tls = tls
        self.port = free_port()
        self.host = host
        self._create = create
        self._extra = tuple(extra)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def unix(self) -> str:
        """Remote of the unix socket."""
        return f"unix:{self.socket}"

    @property
    def remote(self) -> str:
        """Remote of the TCP or TLS port."""
        return f"{'ssl' if self.tls else 'tcp'}:{self.host}:{self.port}"

    async def __aenter__(self) -> Self:
        try:
            self.make_file()
            await self.start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.kill()
        if self._own_directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    def make_file(self) -> None:
        """Create the database file unless it is there."""
        if self.file.exists():
            return
        if self._create is None:
            tool("create", self.file, self.schema)
        elif self._create[0] == "create-cluster":
            tool("--election-timer=1000", "create-cluster", self.file, self.schema, *self._create[1:])
        else:
            tool(self._create[0], self.file, *self._create[1:])

    async def start(self) -> None:
        """Start the process and wait until it answers on its unix socket."""
        command = [
            "ovsdb-server",
            f"--remote=punix:{self.socket}",
            f"--remote={'pssl' if self.tls else 'ptcp'}:{self.port}:{self.host}",
            f"--unixctl={self.ctl}",
            f"--log-file={self.log}",
            "-vconsole:off",
            *self._extra,
        ]
        if self.tls:
            command += [f"--private-key={self.tls.private_key}", f"--certificate={self.tls.certificate}"]
            command += [f"--ca-cert={self.tls.ca_certificate}"]
        environment = {**os.environ, "OVS_RUNDIR": str(self.directory), "OVS_LOGDIR": str(self.directory)}
        self._process = await asyncio.create_subprocess_exec(
            *command, str(self.file), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        async with asyncio.timeout(START_S):
            while True:
                if self._process.returncode is not None:
                    assert self._process.stderr is not None
                    raise RuntimeError((await self._process.stderr.read()).decode())
                try:
                    await probe_server(self.unix, timeout_s=2)
                except OvsdbError:
                    await asyncio.sleep(0.02)
                else:
                    return

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The running process."""
        assert self._process is not None, "the server is not running"
        return self._process

    async def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End the process as a crash would (or by another signal) and reap it."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.send_signal(how)
            if how != signal.SIGKILL:
                process.send_signal(signal.SIGCONT)
            async with asyncio.timeout(10):
                await process.communicate()

    async def stop(self) -> None:
        """End the process in an orderly way."""
        await self.kill(signal.SIGTERM)

    def pause(self) -> None:
        """Freeze the process: its sockets stay open, and nothing answers."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo `pause`."""
        self.process.send_signal(signal.SIGCONT)

    async def appctl(self, command: str, *arguments: str, timeout_s: float = 5.0) -> str:
        """Run a control command."""
        return await unixctl(self.ctl, command, *arguments, timeout_s=timeout_s)


class OvsdbCluster:
    """A RAFT cluster on loopback ports; `members[0]` creates it and the others join."""

    def __init__(self, size: int = 3, *, schema: Path = NB_SCHEMA) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="raft-"))
        addresses = [f"tcp:127.0.0.1:{free_port()}" for _ in range(size)]
        self.members: list[OvsdbServer] = []
        for index, address in enumerate(addresses):
            home = self.directory / str(index)
            home.mkdir()
            create = ("create-cluster", address)
            if index:
                database = json.loads(schema.read_text(encoding="utf-8"))["name"]
                create = ("join-cluster", database, address, *addresses[:index])
            self.members.append(OvsdbServer(schema=schema, create=create, directory=home))

    @property
    def remotes(self) -> list[str]:
        """TCP remotes of all members."""
        return [member.remote for member in self.members]

    @property
    def database(self) -> str:
        """Name of the database."""
        return self.members[0].database

    async def __aenter__(self) -> Self:
        try:
            for member in self.members:
                member.make_file()
                await member.start()
                await self._joined(member)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await asyncio.gather(*(member.kill() for member in self.members))
        shutil.rmtree(self.directory, ignore_errors=True)

    async def _joined(self, member: OvsdbServer) -> None:
        await eventually(lambda: self._serves(member), within_s=START_S)

    @staticmethod
    async def _serves(member: OvsdbServer) -> bool:
        try:
            return any(row.connected and row.has_schema for row in await probe_server(member.unix, timeout_s=5))
        except OvsdbError:  # it drops its clients when the database comes
            return False

    async def cluster_id(self) -> str:
        """The cluster's id."""
        (row,) = await probe_server(self.members[0].unix, timeout_s=5)
        assert row.cid is not None
        return row.cid

    async def leader(self, *, within_s: float = 15.0, besides: OvsdbServer | None = None) -> OvsdbServer:
        """Wait for a running member that says it leads (and is not `besides`)."""
        async with asyncio.timeout(within_s):
            while True:
                for member in self.members:
                    if member is not besides and await self._leads(member):
                        return member
                await asyncio.sleep(0.05)

    @staticmethod
    async def _leads(member: OvsdbServer) -> bool:
        try:
            return any(row.leader for row in await probe_server(member.unix, timeout_s=1))
        except (OvsdbError, DeadlineExceeded):
            return False

    async def term(self, member: OvsdbServer) -> int:
        """A member's RAFT term."""
        status = await member.appctl("cluster/status", self.database)
        found = re.search(r"^Term: (\d+)$", status, re.MULTILINE)
        assert found is not None, status
        return int(found.group(1))
