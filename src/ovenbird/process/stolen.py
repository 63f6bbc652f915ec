"""How long a virtual machine's own host has kept each of its processors from it: what the kernel calls stolen time.

Whatever runs there, real-time or not, stands still meanwhile, and nothing in the machine sees it but by this number
(proc(5), /proc/stat, "steal"). Must never do more than read it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

_STAT = "/proc/stat"
_STEAL = 8
_PROCESSORS_BYTES = 1 << 17
"""The lines of processors come first: so much is enough for a thousand."""


def stolen_ms() -> Mapping[str, float]:
    """Return, by processor ("cpu0"), how long it has been away since the machine started. Raises OSError."""
    fd = os.open(_STAT, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return parsed(os.read(fd, _PROCESSORS_BYTES).decode("ascii"))
    finally:
        os.close(fd)


def parsed(stat: str) -> dict[str, float]:
    """Return what the whole lines of that file say; {} if they do not say it. The kernel counts in steps of 10 ms."""
    tick_ms = 1000 / os.sysconf("SC_CLK_TCK")
    lines = stat[: stat.rfind("\n") + 1].splitlines()
    each = (line.split() for line in lines if line.startswith("cpu") and not line.startswith("cpu "))
    return {fields[0]: int(fields[_STEAL]) * tick_ms for fields in each if len(fields) > _STEAL}


def taken_ms(before: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    """Return what was taken of each processor between two looks, where something was."""
    taken = {name: stolen - before.get(name, stolen) for name, stolen in now.items()}
    return {name: ms for name, ms in taken.items() if ms > 0}
