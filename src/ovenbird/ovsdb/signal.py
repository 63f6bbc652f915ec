"""A wake-up call for any number of waiting tasks: no state is kept, so nobody can miss or consume another's wake-up.

The waiter checks its condition, then waits, with nothing awaited in between.
"""

from __future__ import annotations

import asyncio


class Signal:
    """Wakes all present waiters."""

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[None]] = set()

    def fire(self) -> None:
        """Wake everybody who waits now."""
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self) -> None:
        """Return at the next `fire`."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)
