"""Keeps BIRD on a gateway that routes, and knows whether its BGP sessions are up.

It is started, adopted and left running like the other daemons: a restarted agent interrupts no session. Must never
decide which routes there are: those are the kernel's.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from typing import Any

from ovenbird.host.bird_socket import CONFIGURE, PROTOCOLS, ask
from ovenbird.model.cluster import Bgp, Cluster, Host
from ovenbird.model.errors import OvenbirdError
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
CONFIGURE_S = 5.0
OPENING_S = 8.0
"""After its start sessions may take so long: until then it proves nothing that there is none."""
PROGRAM = "bird"

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
        self._has_answered = False
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
            await ask(self._control, CONFIGURE, timeout_s=CONFIGURE_S)
        except OvenbirdError as error:
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
            lines = await ask(self._control, PROTOCOLS, timeout_s=ANSWER_S)
        except OvenbirdError:
            self.sessions = ()
            return self._silence()
        self._has_answered = True
        self.sessions = read_sessions(lines)
        found = uplink_finding(self.sessions)
        self._was_up = self._was_up or found.state is State.OK
        if found.state is State.BAD and not self._was_up and time.monotonic() - self._began_s < OPENING_S:
            return Finding(State.UNKNOWN, f"{found.evidence}; it has just been started")
        return found

    def _silence(self) -> Finding:
        if shutil.which(PROGRAM) is None:
            return Finding(State.BAD, "BIRD is not installed (package bird2)")
        runs = daemon.find(self._kept.spec) is not None
        starts = not self._has_answered and time.monotonic() - self._began_s < OPENING_S
        return Finding(State.UNKNOWN if starts else State.BAD, f"BIRD does not {'answer' if runs else 'run'}")


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
