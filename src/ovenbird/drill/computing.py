"""How long each ovn-controller computed when a fault hit, and how long it waited for a processor meanwhile.

ovn-controller 23.03 computes all of a host's flows anew when BFD takes another host for dead, and a gateway forwards
for nobody new before it has them. A lab's hosts do that at the same time on a few shared processors; hosts of their own
would not wait for each other. The kernel counts both times for each thread (proc(5), /proc/pid/schedstat), so that a
busy machine and slow software can be told apart. This is an observer: it must never signal anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ovenbird.lab.lab import Lab
from ovenbird.model.errors import OvenbirdError

DAEMON = "ovn-controller"
LOOK_S = 0.05
AMONG_S = 5.0
"""A burst that begins later has nothing to do with the fault."""
BUSY = 0.5
"""Share of the time between two looks that it computed or waited, if it was busy."""
WORTH_TELLING_MS = 20.0


@dataclass(frozen=True, slots=True)
class Look:
    """What the kernel had counted of a thread at one moment, in nanoseconds."""

    at_ns: int
    """Unix time."""
    computed_ns: int
    waited_ns: int


def burst(looks: Sequence[Look], fault_ns: int) -> dict[str, float]:
    """Return the longest time without a pause after a fault: {"computed_ms", "waited_ms"}; {} for none worth telling.

    Both together are what it took on this machine, and the first alone what it would take on a processor of its own.
    """
    longest = found = (0, 0)
    for before, after in itertools.pairwise(looks):
        computed, waited = after.computed_ns - before.computed_ns, after.waited_ns - before.waited_ns
        is_busy = computed + waited >= BUSY * (after.at_ns - before.at_ns) and computed > 0
        # One that began before the fault is no answer to it.
        if not is_busy or before.at_ns < fault_ns:
            found = (0, 0)
            continue
        if found == (0, 0) and before.at_ns > fault_ns + AMONG_S * 1e9:
            break
        found = (found[0] + computed, found[1] + waited)
        longest = max(longest, found, key=sum)
    if longest[0] < WORTH_TELLING_MS * 1e6:
        return {}
    return {"computed_ms": round(longest[0] / 1e6, 1), "waited_ms": round(longest[1] / 1e6, 1)}


def told(computing: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return sentences on the bursts of a run's hosts, for people; none if there were none."""
    if not computing:
        return []
    latest = max(computing, key=lambda name: sum(computing[name].values()))
    needed_ms, waited_ms = computing[latest]["computed_ms"], computing[latest]["waited_ms"]
    most = max(computing, key=lambda name: computing[name]["computed_ms"])
    return [
        f"flows computed anew on {len(computing)} hosts: the last after {needed_ms + waited_ms:.0f} ms ({latest}: "
        f"{needed_ms:.0f} ms of a processor's time, {waited_ms:.0f} ms of waiting for one)",
        f"on processors of their own: {computing[most]['computed_ms']:.0f} ms at most ({most})",
    ]


class Computing:
    """Looks at the ovn-controllers of a lab; one that starts anew while it is watched is watched no more."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._looks: dict[str, list[Look]] = {}

    def bursts(self, fault_ns: int) -> dict[str, Mapping[str, float]]:
        """Return `burst` of each node that had one."""
        found = {name: burst(looks, fault_ns) for name, looks in sorted(self._looks.items())}
        return {name: one for name, one in found.items() if one}

    async def watch(self) -> None:
        """Look until cancelled."""
        files = await asyncio.to_thread(self._files)
        while files:
            for name, path in list(files.items()):
                try:
                    computed, waited, _ = path.read_text(encoding="ascii").split()
                except (OSError, ValueError):  # it has ended
                    del files[name]
                else:
                    self._looks.setdefault(name, []).append(Look(time.time_ns(), int(computed), int(waited)))
            await asyncio.sleep(LOOK_S)
        await asyncio.Event().wait()

    def _files(self) -> dict[str, Path]:
        found = {}
        for name, node in self._lab.nodes.items():
            with contextlib.suppress(OvenbirdError):
                if (process := node.pids().get(DAEMON)) is not None:
                    found[name] = Path(f"/proc/{process.pid}/schedstat")
        return found
