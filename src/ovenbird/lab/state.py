"""The state file of a lab: what was made, written before it is used, so that `lab down` can undo a half-made lab.

A lab is two things outside of itself: a directory, and the init processes of its nodes (everything else lives in their
namespaces and dies with them). The directory exists before anything else. An init waits at its gate until its pid and
start time are in this file; if its maker dies before, the init leaves by itself. So no crash can leave anything
unrecorded. This module must never name a process by anything but pid and start time of the same boot.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ovenbird.lab import spec as specs
from ovenbird.lab.process import Process, boot_id
from ovenbird.model.errors import Refused, UserError

ROOT = Path("/var/lib/ovenbird-lab")


@dataclass(slots=True)
class State:
    """What is known about a lab. Changed only within `StateFile.change`."""

    spec: specs.LabSpec
    boot: str
    """Boot id of the host that the processes belong to."""
    agents: bool = True
    """Whether agents are started in the nodes."""
    bootstrapped: bool = False
    """Whether the permission to create the databases has been handed out; it never is again."""
    inits: dict[str, Process] = field(default_factory=dict)
    """Node name -> PID 1 of the node."""
    whole: set[str] = field(default_factory=set)
    """Nodes whose boot was finished (cables, addresses); one that is not whole is booted again."""
    faults: list[dict[str, Any]] = field(default_factory=list)
    """Active faults, oldest first, in the form that `ovenbird.lab.faults` reads."""
    last_fault: int = 0
    """Number of the last fault that was recorded; a number is never used twice."""
    keeper: Process | None = None
    """The process that heals faults at their time limit (`ovenbird.lab.faults.keeper`)."""


class StateFile:
    """The state file of one lab, and the lock that one command at a time holds."""

    def __init__(self, name: str, *, root: Path = ROOT) -> None:
        if not specs.LAB_NAME.fullmatch(name):
            raise UserError(f"bad lab name {name!r}", subject=name, hint="lower-case letters, digits and -, at most 32")
        self.name = name
        self.root = root
        self.directory = root / name
        self.path = self.directory / "state.json"
        self._mutex = threading.RLock()
        self._holder: int | None = None

    def read(self) -> State | None:
        """Return the state, or None if there is no such lab; what an older version did not write gets safe values."""
        try:
            data = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        same_boot = data["boot"] == boot_id()
        inits = {name: Process(*pair) for name, pair in data["inits"].items()} if same_boot else {}
        keeper, faults = data.get("keeper"), data.get("faults", [])
        return State(
            spec=specs.parse(data["spec"]),
            boot=boot_id(),
            agents=data.get("agents", True),
            bootstrapped=data.get("bootstrapped", True),
            inits=inits,
            whole=set(data.get("whole", inits)),
            faults=faults,
            last_fault=data.get("last_fault", max((item["id"] for item in faults), default=0)),
            keeper=Process(*keeper) if keeper and same_boot else None,
        )

    def write(self, state: State) -> None:
        """Replace the state file in one step."""
        data: Mapping[str, Any] = {
            "spec": specs.to_data(state.spec),
            "boot": state.boot,
            "agents": state.agents,
            "bootstrapped": state.bootstrapped,
            "inits": {name: [process.pid, process.start_ticks] for name, process in state.inits.items()},
            "whole": sorted(state.whole),
            "faults": state.faults,
            "last_fault": state.last_fault,
            "keeper": [state.keeper.pid, state.keeper.start_ticks] if state.keeper else None,
        }
        with self._mutex:
            temporary = self.path.with_suffix(".new")
            temporary.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
            temporary.replace(self.path)

    def require(self) -> State:
        """Return the state; raises `UserError` if there is no such lab."""
        state = self.read()
        if state is None:
            have = ", ".join(names(root=self.root)) or "none"
            raise UserError(
                f"there is no lab {self.name}",
                subject=self.name,
                hint=f"labs here: {have}; make one with `ovenbird lab up`",
            )
        return state

    @contextlib.contextmanager
    def change(self) -> Iterator[State]:
        """Read the state, let the caller change it, write it back. The caller's command holds `locked`."""
        with self._mutex:
            state = self.require()
            yield state
            self.write(state)

    @contextlib.contextmanager
    def locked(self, *, timeout_s: float = 30.0) -> Iterator[None]:
        """Hold the lab against other commands; the lock dies with its holder. Raises `Refused` after `timeout_s`.

        Makes the lab's directory. The lock file is removed with it, so a lock on a removed file is taken again.
        The thread that holds the lab may ask again.
        """
        if self._holder == threading.get_ident():
            yield
            return
        deadline = time.monotonic() + timeout_s
        while True:
            self.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            try:
                descriptor = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except FileNotFoundError:
                continue
            try:
                if self._try_lock(descriptor):
                    self._holder = threading.get_ident()
                    yield
                    return
            finally:
                if self._holder == threading.get_ident():
                    self._holder = None
                os.close(descriptor)
            if time.monotonic() > deadline:
                raise Refused(
                    f"another command is working on lab {self.name}",
                    code="lab_busy",
                    subject=self.name,
                    hint="wait for it to end, or end it; then run this again",
                )
            time.sleep(0.05)

    def _try_lock(self, descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        try:
            return os.fstat(descriptor).st_ino == (self.directory / "lock").stat().st_ino
        except FileNotFoundError:
            return False


def names(*, root: Path = ROOT) -> list[str]:
    """Return the names of every lab on this host, half-made ones included."""
    if not root.is_dir():
        return []
    return sorted(path.name for path in root.iterdir() if path.is_dir() and specs.LAB_NAME.fullmatch(path.name))
