"""Keeps a part of the controller running: one that fails is an event and starts again.

The only place of the controller that catches every exception. It must never hide one, nor restart at full speed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ovenbird.controller.events import TASK_FAILED, Events

RESTART_S = 1.0
"""Pause before a part that failed starts again."""


async def keep_running(name: str, run: Callable[[], Awaitable[None]], events: Events) -> None:
    """Run until cancelled. `run` must begin from scratch each time."""
    while True:
        try:
            await run()
        except Exception as error:
            events.emit(TASK_FAILED, task=name, error=repr(error))
        await asyncio.sleep(RESTART_S)
