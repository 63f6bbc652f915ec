"""A private NB, SB and ovn-northd on unix sockets in a directory, as children of the test."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from types import TracebackType

from tests.waiting import eventually

from ovenbird.ovsdb import Client, Replica, Transaction
from ovenbird.plan.nb_index import NbIndex
from ovenbird.plan.nb_view import WATCHED_COLUMNS
from ovenbird.plan.rows import Delete, Insert, Mutate, Plan, Update

SCHEMAS = Path("/usr/share/ovn")
DEADLINE_S = 15.0


class OvnCentral:
    """NB, SB, northd, a client and a replica of NB. Everything ends with the `async with`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._children: list[subprocess.Popen[bytes]] = []
        self.client = Client("OVN_Northbound", [f"unix:{directory}/nb.sock"], leader_only=False)
        self.replica = Replica(self.client, WATCHED_COLUMNS)

    async def __aenter__(self) -> OvnCentral:
        try:
            for database in ("nb", "sb"):
                self._serve(database)
                # ovn-nbctl gives up at once where there is no socket yet.
                await eventually((self._directory / f"{database}.sock").exists, within_s=DEADLINE_S)
            self._start(
                "ovn-northd",
                f"--ovnnb-db=unix:{self._directory}/nb.sock",
                f"--ovnsb-db=unix:{self._directory}/sb.sock",
                f"--unixctl={self._directory}/northd.ctl",
                f"--log-file={self._directory}/northd.log",
                "-vconsole:off",
            )
            self.nbctl("init")
            await self.client.__aenter__()
            await self.client.wait_connected(timeout_s=DEADLINE_S)
            await self.replica.__aenter__()
            await self.replica.ready(timeout_s=DEADLINE_S)
        except BaseException:
            self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.replica.__aexit__(kind, error, trace)
            await self.client.__aexit__(kind, error, trace)
        finally:
            self._end()

    def _serve(self, database: str) -> None:
        file, control = self._directory / f"{database}.db", self._directory / f"{database}.ctl"
        create = ["ovsdb-tool", "create", str(file), str(SCHEMAS / f"ovn-{database}.ovsschema")]
        subprocess.run(create, check=True, timeout=DEADLINE_S)
        socket = self._directory / f"{database}.sock"
        self._start("ovsdb-server", f"--remote=punix:{socket}", f"--unixctl={control}", "-vconsole:off", str(file))

    def _start(self, *command: str) -> None:
        self._children.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def _end(self) -> None:
        for child in reversed(self._children):
            child.kill()
            child.wait(timeout=DEADLINE_S)
        self._children.clear()

    def nbctl(self, *arguments: str) -> str:
        return self._ctl("ovn-nbctl", "nb", *arguments)

    def sbctl(self, *arguments: str) -> str:
        return self._ctl("ovn-sbctl", "sb", *arguments)

    def _ctl(self, program: str, database: str, *arguments: str) -> str:
        remote = f"--db=unix:{self._directory}/{database}.sock"
        command = [program, remote, f"--timeout={DEADLINE_S:.0f}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S + 5, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout.strip()

    def trace(self, switch: str, packet: str) -> str:
        """What the logical flows do with a new connection's packet; a flow that cannot be parsed fails the test."""
        command = ["ovn-trace", f"--db=unix:{self._directory}/sb.sock", "--summary", "--ct=new", switch, packet]
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=True)
        assert done.stderr == ""
        return done.stdout

    def realise(self) -> None:
        """Return when northd has written all of NB to SB."""
        self.nbctl("--wait=sb", "sync")

    def complaints(self) -> list[str]:
        """Lines of northd's log that are worse than information; that the machine is busy says nothing of our rows."""
        log = (self._directory / "northd.log").read_text()
        return [line for line in log.splitlines() if re.search(r"(?<!\|timeval)\|(WARN|ERR|EMER)\|", line)]

    def binding(self, port: str, column: str) -> str:
        """A column of a SB Port_Binding; "" when there is no such binding or value."""
        return self.sbctl("--bare", f"--columns={column}", "find", "Port_Binding", f"logical_port={port}")

    async def execute(self, plan: Plan) -> None:
        """Commit a plan as one transaction."""
        transaction = Transaction("test")
        for step in plan.steps:
            match step:
                case Insert():
                    transaction.insert(step.table, step.columns, uuid=step.uuid)
                case Update():
                    transaction.update(step.table, step.columns, uuid=step.uuid)
                case Mutate():
                    for mutator, members in (("delete", step.delete), ("insert", step.insert)):
                        if members:
                            transaction.mutate(step.table, step.column, mutator, members, uuid=step.uuid)
                case Delete():
                    transaction.delete(step.table, uuid=step.uuid)
        await self.client.transact(transaction, timeout_s=DEADLINE_S)

    def index(self) -> NbIndex:
        """NB as it is, as the replica has it."""
        index = NbIndex()
        for table in WATCHED_COLUMNS:
            for uuid, row in self.replica.table(table).items():
                index.apply(table, uuid, row)
        return index
