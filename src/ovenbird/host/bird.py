"""Keeps BIRD on a gateway that routes, and knows whether its BGP sessions are up.

It is started, adopted and left running like the other daemons: a restarted agent interrupts no session. Its control
protocol is not Open vSwitch's (BIRD User's Guide, "Remote control"). Must never decide which routes there are: those
are the kernel's.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ovenbird.model.cluster import Bgp, Cluster, Host
from ovenbird.model.errors import Unavailable
from ovenbird.model.layout import Layout
from ovenbird.plan.bird import Session, configuration, read_sessions, uplink_finding
from ovenbird.plan.fitness import Finding, State
from ovenbird.process import daemon, precedence
from ovenbird.process.daemon import DaemonSpec
from ovenbird.process.supervisor import Kept

CHANGED = "bgp.changed"
UNCONFIGURED = "bgp.not_configured"
LOOK_S = 0.2
ANSWER_S = 1.0
OPENING_S = 8.0
"""After its start sessions may take so long: until then it proves nothing that there is none."""
PROGRAM = "bird"
_LIMIT = 1024 * 1024

_log = logging.getLogger(__name__)


class Bird:
    """BIRD on one host. `finding` is what its sessions say of the way out."""

    def __init__(self, cluster: Cluster, host: Host, bgp: Bgp, layout: Layout) -> None:
        self._config = configuration(bgp, host.address, cluster.bfd, str(layout.bird_log))
        self._file = layout.bird_run / "bird.conf"
        self._control = layout.bird_run / "bird.ctl"
        self._kept = Kept(_spec(layout), before_start=self._write, on_up=self._configure)
        self._began_s = time.monotonic()
        self._was_up = False
        self.sessions: tuple[Session, ...] = ()
        self.finding = Finding(State.UNKNOWN, "BIRD was not asked yet")

    def told(self) -> list[dict[str, Any]]:
        """Return the sessions as the facts hold them."""
        return [
            {"neighbor": each.address, "state": "up" if each.is_up else "down", "default_route": bool(each.imported)}
            for each in self.sessions
        ]

    def told_daemon(self) -> dict[str, Any]:
        """Return its process as the facts hold it."""
        running = daemon.find(self._kept.spec)
        if running is None:
            return {"pid": 0, "alive": False}
        return {"pid": running.pid, "alive": True if self.sessions else "unknown"}

    async def run(self) -> None:
        """Keep it, and look at its sessions, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._kept.run())
            group.create_task(self._watch())

    async def _write(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(self._config, encoding="ascii")
        self._began_s = time.monotonic()

    async def _configure(self) -> None:
        """Give one that runs what holds now; what stays the same interrupts nothing."""
        if self._file.exists() and self._file.read_text(encoding="ascii") == self._config:
            return
        await self._write()
        try:
            await ask(self._control, "configure")
        except (OSError, TimeoutError, Unavailable) as error:
            _log.error(UNCONFIGURED, extra={"error": str(error)})

    async def _watch(self) -> None:
        while True:
            before = self.finding
            self.finding = await self._look()
            if (before.state, before.evidence) != (self.finding.state, self.finding.evidence):
                _log.info(CHANGED, extra={"state": self.finding.state.value, "evidence": self.finding.evidence})
            await asyncio.sleep(LOOK_S)

    async def _look(self) -> Finding:
        try:
            lines = await ask(self._control, "show protocols all")
        except (OSError, TimeoutError, Unavailable):
            self.sessions = ()
            return self._silence()
        self.sessions = read_sessions(lines)
        found = uplink_finding(self.sessions)
        self._was_up = self._was_up or found.state is State.OK
        if found.state is State.BAD and not self._was_up and time.monotonic() - self._began_s < OPENING_S:
            return Finding(State.UNKNOWN, f"{found.evidence}; it has just been started")
        return found

    def _silence(self) -> Finding:
        if daemon.find(self._kept.spec) is not None:
            return Finding(State.BAD, "BIRD does not answer")
        if shutil.which(PROGRAM) is None:
            return Finding(State.BAD, "BIRD is not installed (package bird2)")
        return Finding(State.BAD, "BIRD does not run")


def _spec(layout: Layout) -> DaemonSpec:
    run = layout.bird_run
    return DaemonSpec(
        name=PROGRAM,
        argv=(PROGRAM, "-c", str(run / "bird.conf"), "-s", str(run / "bird.ctl"), "-P", str(run / "bird.pid")),
        pidfile=run / "bird.pid",
        control=str(run / "bird.ctl"),
        log=layout.bird_log,
        session_niceness=precedence.SWITCH,
        is_ovs=False,
    )


async def ask(control: Path, command: str, *, timeout_s: float = ANSWER_S) -> Sequence[tuple[str, str]]:
    """Return BIRD's answer to a command as (code, text) of each line. Raises OSError, TimeoutError or `Unavailable`."""
    async with asyncio.timeout(timeout_s):
        reader, writer = await asyncio.open_unix_connection(str(control), limit=_LIMIT)
        try:
            await _answer(reader)  # its greeting
            writer.write(f"{command}\n".encode())
            return await _answer(reader)
        finally:
            writer.transport.abort()


async def _answer(reader: asyncio.StreamReader) -> list[tuple[str, str]]:
    """Read up to the line that ends an answer: its code, of four digits, is followed by a space instead of a dash."""
    found: list[tuple[str, str]] = []
    code = ""
    while True:
        line = (await reader.readline()).decode(errors="replace")
        if not line:
            raise Unavailable("BIRD closed the connection")
        if line[:4].isdigit() and line[4:5] in ("-", " "):
            code = line[:4]
            found.append((code, line[5:].rstrip("\n")))
            if line[4] == " ":
                break
        else:
            found.append((code, line.rstrip("\n")))
    if code.startswith(("8", "9")):  # run-time error, syntax error
        raise Unavailable(f"BIRD: {found[-1][1]}")
    return found
