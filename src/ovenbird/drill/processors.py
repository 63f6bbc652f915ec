"""How long the machine's own host kept each processor from it while a drill ran: what the kernel calls stolen time.

A virtual machine's processors are taken away now and then, one alone or all, for tens of milliseconds; whatever ran
there, real-time or not, stood still. Guests see it in one number only (proc(5), /proc/stat, "steal"). This is an
observer: it must never do more than read it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ovenbird.drill.record import PROCESSOR_STOLEN, Event

LOOK_S = 0.05
LEAST_MS = 20.0
"""Not told below this: the number moves in steps of 10 ms."""
STAT = Path("/proc/stat")
_STEAL = 8


def stolen_ms(stat: str) -> dict[str, float]:
    """Return, by processor ("cpu0"), how long it has been stolen since the machine started; {} where nobody says."""
    tick_ms = 1000 / os.sysconf("SC_CLK_TCK")
    lines = (line.split() for line in stat.splitlines() if line.startswith("cpu") and not line.startswith("cpu "))
    return {fields[0]: int(fields[_STEAL]) * tick_ms for fields in lines if len(fields) > _STEAL}


def thefts(before: Mapping[str, float], now: Mapping[str, float], at_ns: int) -> list[Event]:
    """Return what was taken of each processor between two looks, where it is worth telling."""
    return [
        Event(
            at_ns=at_ns,
            kind=PROCESSOR_STOLEN,
            subject=name,
            what=f"the machine's own host took {name} away for {taken_ms:.0f} ms",
            data={"ms": taken_ms},
        )
        for name, stolen in now.items()
        if (taken_ms := stolen - before.get(name, stolen)) >= LEAST_MS
    ]


async def watch(tell: Callable[[Event], None]) -> None:
    """Look until cancelled."""
    before = stolen_ms(STAT.read_text(encoding="ascii"))
    while True:
        await asyncio.sleep(LOOK_S)
        now = stolen_ms(STAT.read_text(encoding="ascii"))
        for event in thefts(before, now, time.time_ns()):
            tell(event)
        before = now
