"""A cluster's databases with controller candidates on loopback, for tests and benchmarks of the controller."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.raft_cluster import NB_SCHEMA, OVENBIRD_SCHEMA, SB_SCHEMA, RaftDatabase, run

from ovenbird.controller.service import ControllerService
from ovenbird.model.cluster import Cluster, Database, Host, Role
from ovenbird.model.documents import parse_documents

SCHEMAS = {Database.NB: NB_SCHEMA, Database.SB: SB_SCHEMA, Database.OVENBIRD: OVENBIRD_SCHEMA}

CLUSTER = Cluster(
    name="test",
    hosts=(
        *(Host(name=f"c{n}", address=f"192.0.2.{n}", roles=frozenset({Role.CENTRAL})) for n in (1, 2, 3)),
        *(
            Host(name=f"g{n}", address=f"192.0.2.{10 + n}", roles=frozenset({Role.GATEWAY}), uplinks={"ext": "eth1"})
            for n in (1, 2)
        ),
        Host(name="h1", address="192.0.2.21", roles=frozenset({Role.COMPUTE})),
    ),
)

NETWORK = """
kind: Network
name: {name}
spec: {{cidr: {cidr}}}
"""
PORT = """
kind: Port
name: {name}
spec: {{network: {network}}}
"""


class Databases:
    """The databases of one cluster."""

    def __init__(
        self,
        directory: Path,
        *,
        size: int = 3,
        only: tuple[Database, ...] = (Database.NB, Database.OVENBIRD),
        election_timer_ms: int = 1000,
        schemas: Mapping[Database, Path] = SCHEMAS,
    ) -> None:
        self.rafts = {
            database: RaftDatabase(
                directory, database.value, schemas[database], size=size, election_timer_ms=election_timer_ms
            )
            for database in only
        }

    def __getitem__(self, database: Database) -> RaftDatabase:
        return self.rafts[database]

    @property
    def remotes(self) -> dict[Database, tuple[str, ...]]:
        # Nobody listens where a database was left out: its clients just do not connect.
        return {
            database: self.rafts[database].remotes if database in self.rafts else ("tcp:127.0.0.1:9",)
            for database in Database
        }

    def candidate(self, node: str, cluster: Cluster = CLUSTER, **options: Any) -> ControllerService:
        return ControllerService(cluster, node, remotes=self.remotes, **options)

    async def nbctl(self, *command: str) -> str:
        """Run ovn-nbctl beside the event loop, which serves connections of its own meanwhile."""
        return await asyncio.to_thread(
            run, "ovn-nbctl", "-t", "8", f"--db={','.join(self.remotes[Database.NB])}", *command
        )

    async def column(self, table: str, column: str) -> list[str]:
        """Return a column of all rows of a table of NB, sorted."""
        text = await self.nbctl("--bare", f"--columns={column}", "list", table)
        return sorted(line for line in text.splitlines() if line)


@contextlib.contextmanager
def databases(directory: Path, **options: Any) -> Iterator[Databases]:
    """Start the databases of a cluster, and end them."""
    found = Databases(directory, **options)
    with contextlib.ExitStack() as stack:
        for raft in found.rafts.values():
            stack.enter_context(raft)
        yield found


def documents(*texts: str) -> Any:
    return parse_documents("\n---\n".join(texts), "test.yaml")


def network(name: str, cidr: str) -> str:
    return NETWORK.format(name=name, cidr=cidr)


def port(name: str, network_name: str) -> str:
    return PORT.format(name=name, network=network_name)


@contextlib.asynccontextmanager
async def scribbler(dbs: Databases, *traits: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `candidate_process` as candidate "old" with these traits."""
    remotes = [",".join(dbs.remotes[database]) for database in (Database.NB, Database.OVENBIRD)]
    command = [sys.executable, "-m", "tests.candidate_process", "old", *traits, *remotes]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[1]
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        await process.communicate()


async def said(process: asyncio.subprocess.Process, word: str) -> str:
    """Wait until that candidate says a line that begins with this word; return it."""
    assert process.stdout is not None
    async with asyncio.timeout(20):
        while not (line := (await process.stdout.readline()).decode()).startswith(word):
            pass
    return line
