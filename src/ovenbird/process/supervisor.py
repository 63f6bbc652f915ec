"""Keeps one daemon running: adopts it, starts it when it is missing, and notices its death at once (pidfd, no polling).

Ending the supervisor does not end the daemon. Must never kill a daemon: one that hangs is reported by the agent, not
shot.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable

from ovenbird.model.errors import OvenbirdError
from ovenbird.process import daemon, precedence
from ovenbird.process.daemon import DaemonSpec, Running

DAEMON_ADOPTED = "daemon.adopted"
DAEMON_STARTED = "daemon.started"
DAEMON_DIED = "daemon.died"
DAEMON_START_FAILED = "daemon.start_failed"

FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 10.0
STABLE_S = 30.0
"""A daemon that lived this long is started again at once."""
THREADS_LOOK_S = 2.0
"""How often is looked for new threads that must be real-time ones."""
MONITOR_PATIENCE_S = 15.0
"""OVS's monitor restarts a crashed child at most every 10 s."""

_log = logging.getLogger(__name__)


class Kept:
    """A daemon and the loop that keeps it.

    `before_start` runs before every start (not before an adoption), `on_up` after every start or adoption and before
    `up` is set.
    """

    def __init__(
        self,
        spec: DaemonSpec,
        *,
        before_start: Callable[[], Awaitable[None]] | None = None,
        on_up: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.spec = spec
        self.up = asyncio.Event()
        self.running: Running | None = None
        self._before_start = before_start
        self._on_up = on_up
        self._delay_s = 0.0
        self._told = ""

    async def run(self) -> None:
        """Keep the daemon until cancelled."""
        while True:
            running = await self._obtain()
            if running is None:
                continue
            self.running = running
            precedence.give(running.pid, self.spec.session_niceness)
            hastening = asyncio.create_task(self._hasten(running), name=f"hasten-{self.spec.name}")
            up_since = time.monotonic()
            try:
                if self._on_up is not None:
                    await self._on_up()
                self.up.set()
                await daemon.gone(running)
            finally:
                hastening.cancel()
            self.up.clear()
            self.running = None
            lived_s = time.monotonic() - up_since
            _log.warning(
                DAEMON_DIED, extra={"daemon": self.spec.name, "pid": running.pid, "lived_s": round(lived_s, 1)}
            )
            self._back_off(reset=lived_s > STABLE_S)
            await self._let_monitor_restart(running)

    async def _hasten(self, running: Running) -> None:
        """Make threads real-time ones, also those that the daemon starts later."""
        while self.spec.realtime_threads and precedence.hasten(running.pid, self.spec.realtime_threads):
            await asyncio.sleep(THREADS_LOOK_S)

    async def _obtain(self) -> Running | None:
        """Adopt or start; None after a failed start (having waited)."""
        running = daemon.find(self.spec)
        if running is not None:
            _log.info(DAEMON_ADOPTED, extra={"daemon": self.spec.name, "pid": running.pid})
            return running
        await asyncio.sleep(self._delay_s)
        began = time.monotonic()
        try:
            if self._before_start is not None:
                await self._before_start()
            running = await daemon.start(self.spec)
        except (OvenbirdError, TimeoutError) as error:
            self._back_off()
            reason = re.sub(r"\d+", "#", str(error))  # without its time stamps: the same failure is told once
            if reason != self._told:
                _log.error(DAEMON_START_FAILED, extra={"daemon": self.spec.name, "error": str(error)})
                self._told = reason
            return None
        self._told = ""
        took_ms = round((time.monotonic() - began) * 1000)
        _log.info(DAEMON_STARTED, extra={"daemon": self.spec.name, "pid": running.pid, "took_ms": took_ms})
        return running

    def _back_off(self, *, reset: bool = False) -> None:
        self._delay_s = 0.0 if reset else min(LONGEST_DELAY_S, max(FIRST_DELAY_S, self._delay_s * 2))

    async def _let_monitor_restart(self, dead: Running) -> None:
        """Give the daemon's own monitor the first chance: return when it started a new child, or is gone itself."""
        monitor = daemon.process_of(dead.parent)
        deadline = time.monotonic() + MONITOR_PATIENCE_S
        while monitor is not None and dead.parent > 1 and time.monotonic() < deadline:
            if daemon.find(self.spec) is not None:
                return
            now = daemon.process_of(dead.parent)
            if now is None or now.started != monitor.started:
                return
            await asyncio.sleep(0.02)
