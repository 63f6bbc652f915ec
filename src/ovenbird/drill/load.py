"""The load of a drill: streams among workloads of a lab and the outside, and writes and reads through the API.

One probe process per place (a workload's network namespace, or the outside host) serves all of its streams and answers
those of others. A probe that dies with its node is started again when the node is back, so that the outage is measured
to its end. The load must end whatever happens to the drill: a runner that dies closes every stdin, and every probe
ends by itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol

from ovenbird.drill import probe
from ovenbird.drill.outage import SESSIONS, Record
from ovenbird.drill.record import Write
from ovenbird.drill.writer import Reader, Writer
from ovenbird.model.errors import OvenbirdError, Timeout

STOP_TIMEOUT_S = 10.0
LONGEST_S = 600.0
SPACING_MS = 5.0
"""Between two packets of a stream."""
LOOK_S = 0.25
"""How often probes are looked after."""
GENERATION = 10_000_000
"""A probe that was started again counts its packets from the next multiple of this."""


class Place(NamedTuple):
    """Where a probe runs."""

    node: str
    workload: str = ""
    """"" for the node itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One stream of packets to be measured."""

    name: str
    node: str
    """Node of the lab that the probe runs on."""
    workload: str
    """Workload on that node; "" for the node itself."""
    target: str
    """Address."""
    kind: str = "icmp"
    """icmp, udp, tcp (one long connection, echoed) or pull (one long download from the target)."""
    peer: Place | None = None
    """Where the target is, if a responder is needed there (udp, tcp, pull)."""

    @property
    def place(self) -> Place:
        """Where the sender is."""
        return Place(self.node, self.workload)


@dataclass(slots=True)
class _Probe:
    """The probe of one place, and what its processes have written so far."""

    place: Place
    streams: tuple[Stream, ...]
    output: Path
    process: subprocess.Popen[bytes] | None = None
    generation: int = -1
    failures: list[str] = field(default_factory=list)


class Starts(Protocol):
    """Where a probe is started."""

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a command; options as `subprocess.Popen`."""


class Ground(Protocol):
    """Where streams begin and end: a lab, or the host that a live drill runs on."""

    @property
    def nodes(self) -> Mapping[str, Any]:
        """Hosts by name."""

    def node(self, name: str) -> Any:
        """Return one host: it `Starts`, and so does its `workload(name)`."""

    def central_sockets(self) -> Sequence[Path]:
        """Return the API sockets that can be reached now."""


class Load:
    """All load of one run."""

    def __init__(
        self,
        lab: Ground,
        streams: Sequence[Stream],
        writes_per_s: float = 0.0,
        *,
        reads_per_s: float | None = None,
        interval_ms: float = SPACING_MS,
        responds: bool = True,
        is_first: bool = True,
    ) -> None:
        """`writes_per_s` needs a prepared stage. `reads_per_s`: as many as writes by default.

        `responds`: whether every place also answers UDP and TCP of others, on ports that must be free there.
        `is_first`: whether probes come before everything else; on a live host nothing may come before its daemons.
        """
        self.responds, self.is_first = responds, is_first
        self.lab = lab
        self.streams = tuple(streams)
        self.interval_ms = interval_ms
        self.writer = Writer(lab, writes_per_s) if writes_per_s else None
        reads = writes_per_s if reads_per_s is None else reads_per_s
        self.reader = Reader(lab, reads) if reads else None
        self._directory = tempfile.TemporaryDirectory(prefix="ovenbird-drill-")
        places = {stream.place for stream in streams} | {stream.peer for stream in streams if stream.peer}
        self._probes = [self._probe(number, place) for number, place in enumerate(sorted(places))]
        self._ended_ns = 0
        self._stopping = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="drill load", daemon=True)

    def __enter__(self) -> Load:
        """Start everything."""
        for one in self._probes:
            self._start(one)
        self._keeper.start()
        for background in (self.writer, self.reader):
            if background:
                background.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop what still runs."""
        self._stop_background()
        for one in self._probes:
            if one.process is not None:
                if one.process.poll() is None:
                    os.killpg(one.process.pid, signal.SIGKILL)
                one.process.wait(timeout=STOP_TIMEOUT_S)
                if one.process.stdin is not None:
                    one.process.stdin.close()
        self._directory.cleanup()

    def pids(self) -> dict[Place, int]:
        """Return the process, and process group, of each place's probe as it is now."""
        return {one.place: one.process.pid for one in self._probes if one.process is not None}

    def wait_flowing(self, *, timeout_s: float) -> tuple[str, ...]:
        """Wait until every stream has had its first answer; return those that had none in time."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            flowing = {line["flowing"] for one in self._probes for line in self._lines(one) if "flowing" in line}
            silent = tuple(stream.name for stream in self.streams if stream.name not in flowing)
            if not silent or time.monotonic() > deadline_s:
                return silent
            time.sleep(LOOK_S)

    def received(self, name: str) -> list[tuple[int, int]]:
        """Return what a stream has received so far: number and time of each packet; a second late at most."""
        parts = [line for one in self._probes for line in self._lines(one) if line.get("name") == name]
        return [(seq, at) for part in parts for seq, at in part["received"]]

    def stop(self) -> tuple[list[Record], list[Write]]:
        """End everything and return what was recorded; raises `Timeout` for a probe that left no record."""
        self._stop_background()
        self._ended_ns = time.time_ns()
        for one in self._probes:
            if one.process is not None and one.process.stdin is not None:
                with contextlib.suppress(OSError):
                    one.process.stdin.close()
        for one in self._probes:
            try:
                if one.process is not None:
                    one.process.wait(timeout=STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                raise Timeout(f"the probe in {one.place} does not stop", subject=str(one.place)) from None
        records = [record for one in self._probes for record in self._records(one)]
        order = [stream.name for stream in self.streams]
        records.sort(key=lambda record: order.index(record.name))
        reads = [self.reader.record()] if self.reader else []
        return [*records, *reads], self.writer.writes() if self.writer else []

    def _stop_background(self) -> None:
        self._stopping.set()
        for background in (self.writer, self.reader):
            if background:
                background.stop()
        if self._keeper.is_alive():
            self._keeper.join(timeout=STOP_TIMEOUT_S)

    def _probe(self, number: int, place: Place) -> _Probe:
        streams = tuple(stream for stream in self.streams if stream.place == place)
        return _Probe(place, streams, Path(self._directory.name) / f"{number}.jsonl")

    def _start(self, one: _Probe) -> None:
        one.generation += 1
        given = {
            "interval_ms": self.interval_ms,
            "duration_s": LONGEST_S,
            "responds": self.responds,
            "is_first": self.is_first,
            "first_sequence": one.generation * GENERATION,
            "streams": [{"name": each.name, "kind": each.kind, "target": each.target} for each in one.streams],
        }
        argv = [sys.executable, "-I", "-c", Path(probe.__file__).read_text(encoding="utf-8"), json.dumps(given)]
        node = self.lab.node(one.place.node)
        start: Starts = node.workload(one.place.workload) if one.place.workload else node
        with one.output.open("ab") as output, one.output.with_suffix(".err").open("wb") as errors:
            one.process = start.popen(argv, stdin=subprocess.PIPE, stdout=output, stderr=errors, start_new_session=True)

    def _keep(self) -> None:
        """Start again what has died with its node or workload."""
        while not self._stopping.wait(LOOK_S):
            for one in self._probes:
                if one.process is not None and one.process.poll() is None:
                    continue
                if one.process is not None and one.process.stdin is not None:
                    one.process.stdin.close()
                with contextlib.suppress(OSError):
                    one.failures.append(one.output.with_suffix(".err").read_text(errors="replace")[-500:])
                with contextlib.suppress(OvenbirdError, OSError):  # the node is still off
                    self._start(one)

    def _lines(self, one: _Probe) -> list[dict[str, Any]]:
        lines = []
        for text in one.output.read_text(encoding="utf-8").splitlines() if one.output.exists() else []:
            with contextlib.suppress(ValueError):  # the last line of a process that was killed
                lines.append(json.loads(text))
        return lines

    def _records(self, one: _Probe) -> list[Record]:
        parts = [line for line in self._lines(one) if "name" in line]
        return [
            self._record(one, stream, [part for part in parts if part["name"] == stream.name]) for stream in one.streams
        ]

    def _record(self, one: _Probe, stream: Stream, parts: Sequence[dict[str, Any]]) -> Record:
        if not parts:
            raise Timeout(
                f"the probe of {stream.name} left no record", subject=stream.name, evidence=" ".join(one.failures[-1:])
            )
        sent = [pair for part in parts for pair in part["sent"]]
        # Probes end one after the other: whose peer ended first sees its connection go.
        breaks = [pair for part in parts for pair in part["breaks"] if pair[0] < self._ended_ns]
        if stream.kind in SESSIONS:
            firsts = {seq // GENERATION: at for seq, at in reversed(sent)}
            breaks += [(at, "its end was switched off") for generation, at in firsts.items() if generation]
        received = [pair for part in parts for pair in part["received"]]
        data = {"interval_ms": self.interval_ms, "kind": stream.kind}
        return Record.from_json(stream.name, {**data, "sent": sent, "received": received, "breaks": sorted(breaks)})
