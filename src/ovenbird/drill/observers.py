"""Everything that watches during a run: who leads which database, who acts, which gateway answers, what the logs say.

It runs in a thread with an event loop of its own, so that a busy runner neither delays what it sees nor is held up by
a node that hangs. An observer that fails says so in the timeline; it must never end the run, and never write.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from ovenbird.drill import arp_probe, processors
from ovenbird.drill.computing import Computing
from ovenbird.drill.database_watch import DatabaseWatch, lab_members
from ovenbird.drill.host_watch import DaemonPids, LogTails
from ovenbird.drill.record import ARP_ANSWERED, OBSERVER_FAILED, Event
from ovenbird.lab.lab import Lab
from ovenbird.model.errors import OvenbirdError, Unavailable

ARP_INTERVAL_MS = 100.0
LONGEST_S = 900.0
HOSTS_EVERY_S = 0.5
RESTART_S = 1.0
STOP_TIMEOUT_S = 10.0


class Staged(Protocol):
    """What must be known of the stage."""

    @property
    def outside(self) -> str:
        """Address of the outside host."""

    @property
    def gateway_addresses(self) -> Sequence[str]:
        """Addresses for which only the active gateway may answer."""


class Observers:
    """All observers of one run: `async with Observers(lab, stage) as observers`, then `observers.events`."""

    def __init__(self, lab: Lab, stage: Staged) -> None:
        self.lab = lab
        self.stage = stage
        self.computing = Computing(lab)
        self._events: list[Event] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="drill observers", daemon=True)
        self._started = threading.Event()

    @property
    def events(self) -> list[Event]:
        """What was seen so far, in order of time."""
        return sorted(self._events, key=lambda event: event.at_ns)

    async def __aenter__(self) -> Observers:
        """Begin to watch."""
        self._thread.start()
        await asyncio.to_thread(self._started.wait, STOP_TIMEOUT_S)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End watching; what was seen stays."""
        if self._loop is not None and self._end is not None:
            with contextlib.suppress(RuntimeError):  # its loop has ended by itself
                self._loop.call_soon_threadsafe(self._end.set)
        await asyncio.to_thread(self._thread.join, STOP_TIMEOUT_S)

    # In the thread.

    def _run(self) -> None:
        asyncio.run(self._watch_all())

    async def _watch_all(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        tails, pids = LogTails(self.lab), DaemonPids(self.lab)
        watches: dict[str, Callable[[], Awaitable[None]]] = {
            "hosts": lambda: self._poll_hosts(tails, pids),
            "arp": self._watch_arp,
            "computing": self.computing.watch,
            "processors": lambda: processors.watch(self._events.append),
        }
        watches |= DatabaseWatch(lab_members(self.lab), self._events.append).watches
        tasks = [asyncio.create_task(self._supervised(name, watch), name=name) for name, watch in watches.items()]
        self._started.set()
        await self._end.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._events += await asyncio.to_thread(tails.poll)

    async def _supervised(self, name: str, watch: Callable[[], Awaitable[None]]) -> None:
        told = ""
        while True:
            try:
                await watch()
            except Exception as error:  # the supervisor: one observer must not take the others along
                why = f"{error.message}: {error.evidence}" if isinstance(error, OvenbirdError) else repr(error)
                if why != told:
                    self._tell(OBSERVER_FAILED, name, f"observer {name}: {why}", {"error": why})
                told = why
            await asyncio.sleep(RESTART_S)

    def _tell(self, kind: str, subject: str, what: str, data: dict[str, Any], at_ns: int | None = None) -> None:
        self._events.append(Event(at_ns=at_ns or time.time_ns(), kind=kind, subject=subject, what=what, data=data))

    # Hosts and switch.

    async def _poll_hosts(self, tails: LogTails, pids: DaemonPids) -> None:
        while True:
            self._events += await asyncio.to_thread(lambda: tails.poll() + pids.poll())
            await asyncio.sleep(HOSTS_EVERY_S)

    async def _watch_arp(self) -> None:
        given = arp_arguments(self.lab, self.stage, duration_s=LONGEST_S)
        pipe = subprocess.PIPE
        process = subprocess.Popen(arp_command(given), stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        transport: asyncio.BaseTransport | None = None
        try:
            reader = asyncio.StreamReader()
            loop = asyncio.get_running_loop()
            transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), process.stdout)
            async for text in reader:
                self._arp_answered(json.loads(text))
            raise Unavailable("the ARP probe has ended", evidence=process.stderr.read().decode()[-500:])
        finally:
            process.kill()
            if transport is not None:
                transport.close()
            for end in (process.stdin, process.stdout, process.stderr):
                end.close()
            process.wait(STOP_TIMEOUT_S)

    def _arp_answered(self, line: dict[str, Any]) -> None:
        if "address" not in line:
            return
        previous = line["previous"]
        if previous is not None:
            previous = {**previous, "node": node_of(previous["port"])}
        node, address = node_of(line["port"]), str(line["address"])
        data = {"mac": line["mac"], "port": line["port"], "node": node, "previous": previous}
        self._tell(ARP_ANSWERED, address, f"{node} answers for {address}", data, at_ns=int(line["at"]))


def arp_arguments(lab: Lab, stage: Staged, *, duration_s: float) -> dict[str, Any]:
    """Return what `arp_probe` is given on this lab."""
    return {
        "outside": f"/proc/{lab.outside.require_init().pid}/ns/net",
        "fabric": f"/proc/{lab.fabric.require_init().pid}/ns/net",
        "interface": "eth0",
        "sender": stage.outside,
        "addresses": list(stage.gateway_addresses),
        "interval_ms": ARP_INTERVAL_MS,
        "duration_s": duration_s,
    }


def arp_command(given: dict[str, Any]) -> list[str]:
    """Return the command line of the ARP probe."""
    script = Path(arp_probe.__file__).read_text(encoding="utf-8")
    return [sys.executable, "-I", "-c", script, json.dumps(given)]


def node_of(port: str) -> str:
    """Return the node behind a port of the outside switch (`ovenbird.lab.wiring.Cable.port`)."""
    return port.partition("-")[2]
