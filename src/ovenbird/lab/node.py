"""One node of a lab as tests, drills and the CLI see it: run things in it, find its daemons, read its files.

This module must never change what a node is (that is `ovenbird.lab.lab`) nor signal anything by name.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovenbird.lab import command, process
from ovenbird.lab.command import Completed
from ovenbird.lab.process import Process
from ovenbird.lab.spec import NodeSpec
from ovenbird.lab.state import StateFile
from ovenbird.model.errors import Refused, UserError

DAEMON_DIRECTORIES = ("ovn", "openvswitch", "ovenbird")
"""Below /run and /var/log."""

ALIASES = {"nb": "ovnnb_db", "sb": "ovnsb_db", "ovenbird": "db", "vswitchd": "ovs-vswitchd", "northd": "ovn-northd"}
"""Short names of daemons -> names of their pid files and logs."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload's network namespace, which the node's agent made."""

    node: Node
    name: str

    def run(self, argv: Sequence[str], *, timeout_s: float = 30.0) -> Completed:
        """Run a command in the workload; see `Node.run`."""
        return self.node.run(["ip", "netns", "exec", self.name, *argv], timeout_s=timeout_s)

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a command in the workload; see `Node.popen`."""
        return self.node.popen(["ip", "netns", "exec", self.name, *argv], **options)


class Node:
    """A node. `spec` is None for the outside host and the fabric, which run no agent."""

    def __init__(self, name: str, spec: NodeSpec | None, file: StateFile) -> None:
        self.name = name
        self.spec = spec
        self.directory = file.directory / "nodes" / name
        self._file = file

    def __repr__(self) -> str:
        return f"Node({self.name})"

    @property
    def init(self) -> Process | None:
        """PID 1 of the node as the host sees it; None when the node is off."""
        state = self._file.read()
        init = state.inits.get(self.name) if state else None
        return init if init is not None and init.is_alive else None

    @property
    def is_up(self) -> bool:
        """Whether the node is powered on."""
        return self.init is not None

    def require_init(self) -> Process:
        """Return PID 1 of the node; raises `Refused` when the node is off."""
        init = self.init
        if init is None:
            raise Refused(
                f"node {self.name} is off",
                code="node_off",
                subject=self.name,
                hint=f"ovenbird lab fault power-on {self.name}",
            )
        return init

    def path(self, inside: str) -> Path:
        """Return where a file of the running node is reached from the host; /run/ovenbird/api.sock for example."""
        return Path(f"/proc/{self.require_init().pid}/root") / inside.lstrip("/")

    def disk(self, inside: str) -> Path:
        """Return where a file below /etc or /var/log of the node lies on the host, even while it is off.

        Also below /var/lib, but for central nodes: theirs is a volume that is mounted only while they are on.
        """
        return self.directory / inside.lstrip("/")

    def enter(self, argv: Sequence[str]) -> list[str]:
        """Return the command line that runs `argv` in all of the node's namespaces."""
        pid = str(self.require_init().pid)
        return ["nsenter", "-t", pid, "-m", "-u", "-i", "-n", "-p", "--", *argv]

    def run(self, argv: Sequence[str], *, timeout_s: float = 30.0, stdin: str = "") -> Completed:
        """Run a command in the node to its end. Raises `Timeout` (all of it is dead then), `Refused` (node is off)."""
        return command.run(self.enter(argv), timeout_s=timeout_s, stdin=stdin, environment=environment())

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a command in the node; options as `subprocess.Popen`. It dies with the node; the caller reaps it.

        The child of the caller is `nsenter`: to end the command itself, kill its process group
        (`start_new_session=True`).
        """
        return subprocess.Popen(self.enter(argv), **{"cwd": "/", "env": environment(), **options})

    def workload(self, name: str) -> Workload:
        """Return the workload attached to port `name` on this node."""
        return Workload(self, name)

    def processes(self) -> list[Process]:
        """Return every living process of the node."""
        init = self.init
        return list(process.members(init)) if init else []

    def pids(self) -> dict[str, Process]:
        """Return the node's daemons by the name of their pid file (`ovs-vswitchd`, `ovnsb_db`, `agent`, ...)."""
        if not self.is_up:
            return {}
        found = {}
        for directory in DAEMON_DIRECTORIES:
            for path in sorted(self.path(f"/run/{directory}").glob("*.pid")):
                owner = self._owner(path)
                if owner is not None:
                    found[path.stem] = owner
        return found

    def daemon(self, name: str) -> Process:
        """Return one daemon; `name` as in `pids`, or nb, sb, ovenbird, vswitchd, northd. Raises `UserError`."""
        self.require_init()
        daemons = self.pids()
        found = daemons.get(ALIASES.get(name, name))
        if found is None:
            have = ", ".join(sorted(daemons)) or "none"
            raise UserError(f"no daemon {name} runs on {self.name}", subject=self.name, hint=f"running: {have}")
        return found

    def logs(self) -> dict[str, Path]:
        """Return the node's log files by daemon, also while it is off."""
        return {
            path.stem: path
            for directory in DAEMON_DIRECTORIES
            for path in sorted(self.disk(f"/var/log/{directory}").glob("*.log"))
        }

    def _owner(self, pid_file: Path) -> Process | None:
        owner = process.lock_owner(pid_file)
        if owner is not None:
            return owner
        try:  # a daemon that holds no lock on its pid file: trust the number only for a process of this node
            inner = int(pid_file.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None
        found = process.by_inner_pid(self.require_init(), inner)
        return (
            found
            if found is not None and found.command.startswith(("ovn", "ovs", "ovenbird", "python", "bird"))
            else None
        )


def environment() -> Mapping[str, str]:
    """Return the environment of commands in a node: a login's, with our own commands on the PATH."""
    kept = {key: os.environ[key] for key in ("TERM", "LANG", "NO_COLOR", "COLUMNS", "LINES") if key in os.environ}
    path = f"{Path(sys.prefix) / 'bin'}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"LANG": "C.UTF-8", **kept, "PATH": path, "HOME": os.environ.get("HOME", "/root")}


def agent_command() -> list[str]:
    """Return the command line of the production agent."""
    script = Path(sys.prefix) / "bin" / "ovenbird"
    return [str(script), "agent"] if script.exists() else [sys.executable, "-m", "ovenbird.cli.main", "agent"]


def start_agent(node: Node, *, variables: Mapping[str, str] | None = None) -> bool:
    """Start the node's agent detached, as its init system would; False if it already runs.

    `variables` are added to its environment, and so to that of every daemon that it starts.
    """
    if "agent" in node.pids():
        return False
    command = ["env", *(f"{key}={value}" for key, value in (variables or {}).items()), *agent_command()]
    script = (
        "mkdir -p /run/ovenbird /var/log/ovenbird && cd / || exit 1;"
        f" setsid {shlex.join(command)} < /dev/null >> /var/log/ovenbird/agent.log 2>&1 &"
        " echo $! > /run/ovenbird/agent.pid"
    )
    # Not through pipes: the agent must not keep any end of ours open.
    node.run(["sh", "-c", script], timeout_s=20).checked(subject=node.name)
    return True
