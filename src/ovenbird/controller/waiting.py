"""Waiting for a condition on something that changes by notice and, now and then, without one.

Connecting and losing a connection change no content, so a waiter also looks again by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

LOOK_AGAIN_S = 0.2


class Changing:
    """Something that changes: `tell` wakes all who wait."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def tell(self) -> None:
        """Let everybody who waits look again."""
        told, self._next = self._next, asyncio.Event()
        told.set()

    async def next_change(self) -> None:
        """Return at the next change."""
        await self._next.wait()

    async def wait_for(self, condition: Callable[[], bool], *, timeout_s: float) -> None:
        """Return once the condition holds, or raise TimeoutError."""
        async with asyncio.timeout(max(0.0, timeout_s)):
            while not condition():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_AGAIN_S):
                        await self._next.wait()
