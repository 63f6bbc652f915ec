"""Pauses one host's ovn-controller for a moment, and makes sure that it goes on.

Paused by its control command `debug/pause` its flows stay as they are, BFD and what ovs-vswitchd does go on, and so
does its thread that answers ARP and DHCP. What it missed meanwhile it does not look at again by itself, so it is told
to compute everything anew afterwards: one that was only resumed would answer for a router for ever.

A paused ovn-controller is as good as a dead one. So a process of its own resumes it even if this agent is killed, and
an agent that starts resumes it first.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from ovenbird.ovsdb import OvsdbError
from ovenbird.process import daemon
from ovenbird.process.daemon import DaemonSpec

NOT_PAUSED = "controller.not_paused"
NOT_RESUMED = "controller.not_resumed"
RECOMPUTE = "inc-engine/recompute"
"""Command of ovn-controller: compute everything anew."""
PAUSE, RESUME, STATUS = "debug/pause", "debug/resume", "debug/status"
RESCUE_S = 5
"""After so long the process of its own resumes ovn-controller; whoever pauses it must be done by then."""
ANSWER_S = 0.3
RETRY_S = 0.2
PATIENCE_S = 2.0
"""How long one that does not answer is told again and again to go on."""

_log = logging.getLogger(__name__)


@asynccontextmanager
async def paused(controller: DaemonSpec) -> AsyncIterator[bool]:
    """Pause ovn-controller while the block runs; yields whether it is: one that does not answer is left as it is."""
    rescue = await _rescue(controller)
    try:
        yield await _pause(controller)
    finally:
        if await resume(controller):
            with suppress(ProcessLookupError):
                os.killpg(rescue.pid, signal.SIGKILL)
        await rescue.wait()


async def resume(controller: DaemonSpec) -> bool:
    """Let it go on, and have everything computed anew: in this order, a paused one forgets that it was asked to.

    Returns whether it has been told.
    """
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            await daemon.ask(controller, RESUME)
            await daemon.ask(controller, RECOMPUTE)
        except (OvsdbError, OSError) as error:
            # One that has ended meanwhile starts anew, and is not paused.
            if time.monotonic() > deadline_s:
                _log.error(NOT_RESUMED, extra={"error": str(error)})
                return False
            await asyncio.sleep(RETRY_S)
        else:
            return True


async def resume_old(controller: DaemonSpec) -> None:
    """Resume what an earlier agent left paused."""
    with suppress(OvsdbError, OSError):
        if (await daemon.ask(controller, STATUS)).strip() == "paused":
            await resume(controller)


async def _pause(controller: DaemonSpec) -> bool:
    try:
        await daemon.ask(controller, PAUSE, timeout_s=ANSWER_S)
    except (OvsdbError, OSError) as error:
        _log.warning(NOT_PAUSED, extra={"error": str(error)})
        return False
    return True


async def _rescue(controller: DaemonSpec) -> asyncio.subprocess.Process:
    """Start what resumes ovn-controller if this agent does not live to do it."""
    running = daemon.find(controller)
    control = controller.control.replace("{pid}", str(running.pid) if running else "none")
    ask = "ovs-appctl --timeout=5 --target"
    script = f'sleep {RESCUE_S}; {ask} "$0" {RESUME}; {ask} "$0" {RECOMPUTE}'
    quiet = asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec(
        "sh", "-c", script, control, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
    )
