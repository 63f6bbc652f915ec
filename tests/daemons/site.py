"""A site of central hosts on one machine: each host is a directory and a loopback address, all in namespaces.

Ending the site's first process makes the kernel end every process of the site, whatever state a test left it in.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from ovenbird.model.cluster import Cluster, Database, Host, Role
from ovenbird.model.cluster_file import render_cluster
from ovenbird.model.layout import Layout
from ovenbird.model.raft_status import RaftStatus, parse_raft_status
from ovenbird.ovsdb import OvsdbError, unixctl

_INIT = "ip link set lo up && echo ready && exec sleep infinity"
_UNSHARE = ("unshare", "--net", "--pid", "--mount", "--mount-proc", "--fork", "--kill-child")
DAEMONS = ("run/ovn/ovnnb_db.pid", "run/ovn/ovnsb_db.pid", "run/ovenbird/db.pid", "run/ovn/ovn-northd.pid")


def cluster_of(size: int) -> Cluster:
    hosts = [Host(name=f"c{i}", address=f"127.8.0.{i}", roles=frozenset({Role.CENTRAL})) for i in range(1, size + 1)]
    return Cluster(name="site", hosts=tuple(hosts))


class Site:
    """Central hosts c1, c2, ... below one directory. `power_cut` ends everything; the files stay."""

    def __init__(self, directory: Path, cluster: Cluster, *, permitted: tuple[str, ...] = ("c1",)) -> None:
        self.cluster = cluster
        self._directory = directory
        self.agents: dict[str, subprocess.Popen[bytes]] = {}
        for host in cluster.hosts:
            etc = self.layout(host.name).cluster_file.parent
            etc.mkdir(parents=True)
            (etc / "cluster.yaml").write_text(render_cluster(cluster))
            if host.name in permitted:
                (etc / "bootstrap").touch()
        self._power_on()

    def layout(self, name: str) -> Layout:
        return Layout(self._directory / name)

    def _power_on(self) -> None:
        self._init = subprocess.Popen([*_UNSHARE, "sh", "-c", _INIT], stdout=subprocess.PIPE)
        assert self._init.stdout is not None
        assert self._init.stdout.readline() == b"ready\n"
        children = Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children").read_text().split()
        self._pid = int(children[0])

    def power_cut(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        self._init.wait(timeout=10)
        assert self._init.stdout is not None
        self._init.stdout.close()
        for agent in self.agents.values():
            agent.wait(timeout=10)
        self.agents.clear()

    def power_on(self) -> None:
        self._power_on()

    def enter(self, *argv: str) -> list[str]:
        return ["nsenter", "-t", str(self._pid), "--net", "--pid", "--mount", "--", *argv]

    def start(self, *names: str) -> None:
        for name in names or [host.name for host in self.cluster.hosts]:
            with self.log(name).open("ab") as log:
                self.agents[name] = subprocess.Popen(self.enter(*self.agent_argv(name)), stderr=log)

    def agent_argv(self, name: str) -> list[str]:
        command = [str(Path(sys.prefix, "bin/ovenbird")), "agent", "--root", str(self._directory / name)]
        return [*command, "--node", name]

    def stop_agent(self, name: str) -> float:
        """End an agent with SIGTERM (to the one process whose parent is our nsenter); return its seconds to end."""
        import time

        agent = self.agents.pop(name)
        children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
        began = time.monotonic()
        for child in children:
            os.kill(int(child), signal.SIGTERM)
        agent.wait(timeout=10)
        return time.monotonic() - began

    def log(self, name: str) -> Path:
        return self._directory / name / "agent.log"

    def events(self, name: str, event: str) -> list[dict[str, Any]]:
        """Events of that name in the agent's log."""
        lines = self.log(name).read_text().splitlines() if self.log(name).exists() else []
        return [line for line in map(json.loads, lines) if line["event"] == event]

    def pids(self, name: str) -> dict[str, int]:
        """Pids of the host's daemons as their pid files have them."""
        root = self._directory / name
        return {path: int((root / path).read_text()) for path in DAEMONS if (root / path).exists()}

    def kill_daemon(self, name: str, path: str) -> None:
        subprocess.run(self.enter("kill", "-9", str(self.pids(name)[path])), check=True, timeout=5)

    async def status(self, name: str, database: Database) -> RaftStatus | None:
        """What a member says of itself; None when it cannot be asked."""
        control = f"{self.layout(name).database_run(database)}.ctl"
        try:
            return parse_raft_status(await unixctl(control, "cluster/status", database.value, timeout_s=2))
        except (OvsdbError, OSError):
            return None

    async def is_whole(self) -> bool:
        """Whether every member of every database serves, and knows of all the others."""
        for database in Database:
            for host in self.cluster.hosts:
                status = await self.status(host.name, database)
                if status is None or not status.is_serving or len(status.members) != len(self.cluster.hosts):
                    return False
        return True

    async def cids(self, database: Database) -> set[str]:
        statuses = [await self.status(host.name, database) for host in self.cluster.hosts]
        return {status.cid for status in statuses if status is not None}
