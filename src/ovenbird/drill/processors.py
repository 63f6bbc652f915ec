"""Tells when the machine's own host took a processor away while a drill ran.

This is an observer: it must never do more than read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from ovenbird.drill.outage import NS_PER_MS
from ovenbird.drill.record import PROCESSOR_STOLEN, Event
from ovenbird.process.stolen import stolen_ms, taken_ms

LOOK_S = 0.05
LEAST_MS = 20.0
"""Not told below this: the number moves in steps of 10 ms."""


def thefts(taken: Mapping[str, float], before_ns: int, at_ns: int) -> list[Event]:
    """Return those that are worth telling of what was taken between two looks (milliseconds, by processor)."""
    return [
        Event(
            at_ns=at_ns,
            kind=PROCESSOR_STOLEN,
            subject=name,
            what=f"the machine's own host took {name} away for {ms:.0f} ms",
            data={"ms": ms, "between_ms": round((at_ns - before_ns) / NS_PER_MS, 1)},
        )
        for name, ms in taken.items()
        if ms >= LEAST_MS
    ]


async def watch(tell: Callable[[Event], None]) -> None:
    """Look until cancelled."""
    before, before_ns = stolen_ms(), time.time_ns()
    while True:
        await asyncio.sleep(LOOK_S)
        now, now_ns = stolen_ms(), time.time_ns()
        for event in thefts(taken_ms(before, now), before_ns, now_ns):
            tell(event)
        before, before_ns = now, now_ns
