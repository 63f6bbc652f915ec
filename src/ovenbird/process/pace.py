"""When an agent looks again at what it looks at all the time: at the same moments for all its parts.

A look that comes alone finds the processor's caches cold, and costs several times as much as one that follows another.
So the parts of a process share one beat; processes have different ones, because the hosts of a lab share processors. A
part never looks later than its period after its last look began.
"""

from __future__ import annotations

import asyncio
import os
import time

_PHASE_S = os.getpid() % 47 / 1000


async def next_beat(period_s: float) -> None:
    """Return at the next multiple of the period."""
    await asyncio.sleep(until_beat(time.monotonic() - _PHASE_S, period_s))


def until_beat(now_s: float, period_s: float) -> float:
    """Return the time until the next multiple of the period: more than nothing, and at most one period."""
    return period_s - now_s % period_s
