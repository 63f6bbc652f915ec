"""Measures how long ovs-vswitchd has to wait for a processor, and which BFD sessions flap meanwhile.

The kernel counts for each thread how long it was ready and did not run (proc(5), /proc/pid/schedstat): all that is seen
of a busy host, without being misled by how busy this process is itself. What a virtual machine's own host keeps from it
is in no such count: that is measured besides. Must never end or change anything.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ovenbird.host.chassis import Chassis
from ovenbird.plan.bfd_timers import wait_class
from ovenbird.process import daemon, stolen
from ovenbird.process.pace import next_beat

LOOK_S = 0.2
REMEMBERED_S = 60.0
"""The worst wait of so long counts: faster timers must not come back between two bursts of load."""
BEFORE_FLAP_S = 3.0
PATIENT = ("revalidator", "urcu", "ct_clean", "dpif_")
"""How ovs-vswitchd's threads are called that have nothing to do with BFD."""
NAMED_S = 5.0
"""How long the names of threads are remembered."""
STARTING_S = 5.0
"""A process that has just started builds everything at once; what it waits for then says nothing of later."""
SHORT_S = 1.5
"""A session that failed because this host was late is up again after 0.7 to 1.0 s here (seven seen), and after 2.6 s
and more where the peer was killed and started again."""
FLAPS_KEPT = 20


class Worst:
    """The worst of what was measured lately, at any time."""

    def __init__(self) -> None:
        self._falling: deque[tuple[float, float]] = deque()
        """(monotonic moment, ms): each is the worst since."""

    def add(self, now_s: float, ms: float) -> None:
        """Note one measurement; what is older than `REMEMBERED_S` is forgotten."""
        while self._falling and self._falling[-1][1] <= ms:
            self._falling.pop()
        self._falling.append((now_s, ms))
        while self._falling[0][0] < now_s - REMEMBERED_S:
            self._falling.popleft()

    def class_since(self, since_s: float) -> int:
        """Return the class of the worst since then; 0 if nothing was measured."""
        return wait_class(next((ms for at_s, ms in self._falling if at_s >= since_s), 0.0))


class Strain:
    """The strain on one host. `told()` is for its facts."""

    def __init__(self, chassis: Chassis) -> None:
        self._chassis = chassis
        self._waited_ns: dict[str, int] = {}
        """Thread -> how long it has waited since it began."""
        self._patient: set[str] = set()
        """Threads that have nothing to do with BFD."""
        self._known: set[str] = set()
        """Threads whose names were read; a thread has its own a moment after it began."""
        self._named_s = 0.0
        self._waits, self._thefts = Worst(), Worst()
        self._stolen_ms: Mapping[str, float] = {}
        self._started, self._since_s, self._looked_s = 0, 0.0, 0.0
        self._flap_counts: dict[str, int] = {}
        self._up_s: dict[str, float] = {}
        """Peer -> when its session was last seen up."""
        self._flaps: deque[dict[str, Any]] = deque(maxlen=FLAPS_KEPT)

    def told(self) -> dict[str, Any]:
        """Return what was found, as the facts hold it."""
        waited_ms = self._waits.class_since(time.monotonic() - REMEMBERED_S)
        return {"waited_ms": waited_ms, "flaps": list(self._flaps)}

    async def run(self) -> None:
        """Measure until cancelled."""
        await self._chassis.settled.wait()
        while True:
            self._look(time.monotonic())
            await next_beat(LOOK_S)

    def _look(self, now_s: float) -> None:
        running = daemon.find(self._chassis.vswitchd_spec)
        counts = self._waits_ns(running.pid, now_s) if running is not None else {}
        waited_ms = max(
            ((count - self._waited_ns[thread]) / 1e6 for thread, count in counts.items() if thread in self._waited_ns),
            default=0.0,
        )
        # A look that came late has summed up many waits: only a look's share of them counts.
        waited_ms *= min(1.0, LOOK_S / max(LOOK_S, now_s - self._looked_s))
        self._waited_ns, self._looked_s = counts, now_s
        if running is not None and running.started != self._started:
            self._started, self._since_s = running.started, now_s
        if now_s - self._since_s < STARTING_S:
            waited_ms = 0.0
        self._waits.add(now_s, waited_ms)
        self._look_at_thefts(now_s)
        self._look_at_flaps()

    def _look_at_thefts(self, now_s: float) -> None:
        before = self._stolen_ms
        with suppress(OSError, ValueError):
            self._stolen_ms = stolen.stolen_ms()
        self._thefts.add(now_s, max(stolen.taken_ms(before, self._stolen_ms).values(), default=0.0))

    def _look_at_flaps(self) -> None:
        replica = self._chassis.replica
        if replica is None or not replica.synced:
            return
        interfaces = replica.table("Interface")
        for port in replica.table("Port").values():
            peer = port["external_ids"].get("ovn-chassis-id", "").partition("@")[0]
            for uuid in port["interfaces"] if peer else ():
                interface = interfaces.get(uuid)
                status = interface["bfd_status"] if interface is not None else {}
                if status.get("state") == "up" and status.get("flap_count", "").isdigit():
                    self._is_up(peer, int(status["flap_count"]))

    def _is_up(self, peer: str, count: int) -> None:
        now_s = time.monotonic()
        is_flap = count > self._flap_counts.get(peer, count)
        # One that was down for longer had lost its peer, as when that died.
        if is_flap and now_s - self._up_s.get(peer, 0.0) < SHORT_S:
            since_s = now_s - BEFORE_FLAP_S
            why = {"waited_ms": self._waits.class_since(since_s), "stolen_ms": self._thefts.class_since(since_s)}
            self._flaps.append({"peer": peer, "at_s": round(time.time(), 1), **why})
            self._chassis.news.set()
        self._flap_counts[peer], self._up_s[peer] = count, now_s

    def _waits_ns(self, pid: int, now_s: float) -> dict[str, int]:
        """Return how long each of its threads that may handle BFD has waited for a processor since it began."""
        tasks = f"/proc/{pid}/task"
        try:
            threads = {thread.name for thread in os.scandir(tasks)}
        except OSError:  # it has ended
            return {}
        if threads != self._known or now_s - self._named_s > NAMED_S:
            self._known, self._named_s = threads, now_s
            self._patient = {thread for thread in threads if _text(f"{tasks}/{thread}/comm").startswith(PATIENT)}
        found = {}
        for thread in threads - self._patient:
            with suppress(ValueError, IndexError):
                found[thread] = int(_text(f"{tasks}/{thread}/schedstat").split()[1])
        return found


def _text(path: str) -> str:
    """Return a file of /proc, "" when its thread has ended."""
    try:
        return daemon.small_file(path)
    except OSError:
        return ""
