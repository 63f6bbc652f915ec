"""A central tier on loopback for tests of the faces: real databases, and the real API over a real controller candidate.

Each "host" is a loopback address of its own, so that the standard ports are used and nothing clashes. Servers are
child processes in the foreground; the APIs run in a thread with its own event loop, so that tests may run the CLI.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.waiting import eventually_sync

from ovenbird.api.server import serve
from ovenbird.controller.service import ControllerService
from ovenbird.model.cluster import Cluster, Database, Host, Role
from ovenbird.model.layout import Layout

SCHEMAS = {
    Database.NB: Path("/usr/share/ovn/ovn-nb.ovsschema"),
    Database.SB: Path("/usr/share/ovn/ovn-sb.ovsschema"),
    Database.OVENBIRD: Path(__file__).parents[2] / "src/ovenbird/ovenbird.ovsschema",
}
DEADLINE_S = 20.0


def describe(centrals: int, *, name: str = "test") -> Cluster:
    """Return a description whose central hosts are loopback addresses that nobody else is likely to use."""
    net = f"127.{random.randint(1, 250)}.{random.randint(1, 250)}"
    hosts = [Host(name=f"c{n}", address=f"{net}.{n}", roles=frozenset({Role.CENTRAL})) for n in range(1, centrals + 1)]
    hosts += [
        Host(
            name="g1",
            address=f"{net}.101",
            roles=frozenset({Role.GATEWAY}),
            uplinks={"ext": "eth1"},
        ),
        Host(name="n1", address=f"{net}.102", roles=frozenset({Role.COMPUTE})),
    ]
    return Cluster(name=name, hosts=tuple(hosts))


class Central:
    """The databases and APIs of a described cluster, below one directory per host."""

    def __init__(self, directory: Path, cluster: Cluster) -> None:
        self.cluster = cluster
        self.directory = directory
        self.servers: dict[tuple[str, Database], subprocess.Popen[bytes]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="apis")
        self._apis: dict[str, asyncio.Task[None]] = {}

    def layout(self, host: str) -> Layout:
        return Layout(self.directory / host)

    def socket(self, host: str = "c1") -> Path:
        return self.layout(host).api_socket

    def __enter__(self) -> Central:
        self._thread.start()
        try:
            for database in Database:
                self._create(database)
            for host in self.cluster.centrals:
                for database in Database:
                    self.start(host.name, database)
            for host in self.cluster.centrals:
                for database in Database:
                    self._wait_settled(host.name, database)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for host in list(self._apis):
            self.stop_api(host)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE_S)
        self._loop.close()
        for process in self.servers.values():
            process.kill()
            process.wait(DEADLINE_S)

    def _create(self, database: Database) -> None:
        first, *others = self.cluster.centrals
        for host in self.cluster.centrals:
            layout = self.layout(host.name)
            layout.database_file(database).parent.mkdir(parents=True, exist_ok=True)
            layout.database_run(database).parent.mkdir(parents=True, exist_ok=True)
        here = f"tcp:{first.address}:{database.raft_port}"
        self._tool(first, database, "create-cluster", str(SCHEMAS[database]), here)
        for other in others:
            self._tool(
                other, database, "join-cluster", database.value, f"tcp:{other.address}:{database.raft_port}", here
            )

    def _tool(self, host: Host, database: Database, verb: str, *rest: str) -> None:
        file = str(self.layout(host.name).database_file(database))
        subprocess.run(["ovsdb-tool", verb, file, *rest], check=True, timeout=DEADLINE_S, capture_output=True)

    def start(self, host: str, database: Database) -> None:
        """Start a member."""
        described, layout = self.cluster.host(host), self.layout(host)
        assert described is not None
        stem = layout.database_run(database)
        command = [
            "ovsdb-server",
            f"--remote=ptcp:{database.client_port}:{described.address}",
            f"--remote=punix:{stem}.sock",
            f"--unixctl={stem}.ctl",
            f"--log-file={stem}.log",
            "-vconsole:off",
            str(layout.database_file(database)),
        ]
        self.servers[host, database] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def kill(self, host: str, database: Database) -> None:
        """End a member as kill -9 does."""
        process = self.servers.pop((host, database))
        process.kill()
        process.wait(DEADLINE_S)

    def _wait_settled(self, host: str, database: Database) -> None:
        control = f"{self.layout(host).database_run(database)}.ctl"
        command = ["ovs-appctl", "-T", "2", "-t", control, "cluster/status", database.value]

        def settled() -> bool:
            told = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False).stdout
            has_leader = re.search(r"^Leader: (?!unknown)", told, re.M)
            assert "Status: cluster member" in told and has_leader, f"{database.value} on {host}: {told}"
            return True

        eventually_sync(settled, within_s=DEADLINE_S)

    def start_api(self, host: str = "c1", *, cluster: Cluster | None = None) -> Path:
        """Start a host's API (by another description if one is given); return its socket once it listens."""
        begun = threading.Event()

        async def run() -> None:
            async with ControllerService(cluster or self.cluster, host) as service:
                begun.set()
                await serve(service, socket_path=self.socket(host), layout=self.layout(host))

        def start() -> None:
            self._apis[host] = self._loop.create_task(run())

        self._loop.call_soon_threadsafe(start)
        assert begun.wait(DEADLINE_S)
        eventually_sync(
            lambda: self.socket(host).exists() or self._apis[host].done(), within_s=DEADLINE_S, every_s=0.02
        )
        assert not self._apis[host].done(), self._apis[host]
        return self.socket(host)

    def stop_api(self, host: str = "c1") -> None:
        """End a host's API as the agent does."""
        task = self._apis.pop(host)

        async def stop() -> None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result(DEADLINE_S)


@contextlib.contextmanager
def central(directory: Path, centrals: int = 1) -> Iterator[Central]:
    """Run a central tier with the API of its first host."""
    with Central(directory, describe(centrals)) as running:
        running.start_api()
        yield running
