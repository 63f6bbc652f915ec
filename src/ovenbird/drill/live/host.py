"""The host that a live drill runs on: its workloads' network namespaces, its daemons' pid files and logs.

It has the few words of a lab's node that load and log watch need, so that both measure in the same way here and there.
This module must never signal anything, nor change a file.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ovenbird.agent.identity import node_name
from ovenbird.host.workload import NAMESPACES
from ovenbird.lab.process import Process, lock_owner
from ovenbird.model.errors import UserError
from ovenbird.model.layout import Layout


@dataclass(frozen=True, slots=True)
class LocalWorkload:
    """A workload's network namespace on this host."""

    name: str

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a command in it; options as `subprocess.Popen`."""
        namespace = f"--net={NAMESPACES / self.name}"
        return subprocess.Popen(["nsenter", namespace, "--", *argv], **{"cwd": "/", **options})


@dataclass(frozen=True, slots=True)
class LiveHost:
    """The host that this process runs on."""

    sockets: tuple[Path, ...] = ()
    """API sockets."""
    layout: Layout = field(default_factory=Layout)

    @property
    def name(self) -> str:
        """Its name in the cluster."""
        return node_name(self.layout)

    @property
    def nodes(self) -> Mapping[str, LiveHost]:
        """All nodes that can be looked into from here: this one."""
        return {self.name: self}

    def node(self, _name: str) -> LiveHost:
        """Return the node that a stream begins on: always this one."""
        return self

    def central_sockets(self) -> list[Path]:
        """Return the API sockets."""
        return list(self.sockets)

    def workload(self, name: str) -> LocalWorkload:
        """Return a workload; raises `UserError` when it has no network namespace here."""
        if not (NAMESPACES / name).exists():
            here = sorted(path.name for path in NAMESPACES.iterdir()) if NAMESPACES.is_dir() else []
            raise UserError(
                f"no workload {name} has a network namespace on this host",
                subject=name,
                hint=f"here are: {', '.join(here) or 'none'}; `host` sends from the host itself",
            )
        return LocalWorkload(name)

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a command on the host itself."""
        return subprocess.Popen(list(argv), **{"cwd": "/", **options})

    def logs(self) -> dict[str, Path]:
        """Return the log files of this host's daemons."""
        directories = (self.layout.ovn_log, self.layout.ovs_log, self.layout.root / "var/log/ovenbird")
        return {path.stem: path for directory in directories for path in sorted(directory.glob("*.log"))}

    def agent(self) -> Process | None:
        """Return this host's agent, None if it does not run."""
        return lock_owner(self.layout.agent_pidfile)

    def daemon(self, name: str) -> Process | None:
        """Return one of OVN's daemons on this host by its locked pid file, None if it does not run."""
        return lock_owner(self.layout.ovn_run / f"{name}.pid")
