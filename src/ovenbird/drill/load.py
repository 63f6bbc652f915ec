"""The load of a drill: probes that run inside workloads of a lab while something is broken.

Probes are processes in the workload's network namespace; each writes its record when its stdin closes. The load must
end whatever happens to the drill: a runner that dies closes every stdin, and every probe ends by itself.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ovenbird.drill import probe
from ovenbird.drill.outage import Record
from ovenbird.lab.lab import Lab
from ovenbird.model.errors import Timeout

STOP_TIMEOUT_S = 10.0
LONGEST_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One stream of packets to be measured."""

    name: str
    node: str
    """Node of the lab that the probe runs on."""
    workload: str
    """Workload on that node; "" for the node itself."""
    target: str


class Load:
    """All probes of one run."""

    def __init__(self, lab: Lab, streams: Sequence[Stream], *, interval_ms: float = 5.0) -> None:
        self.lab = lab
        self.streams = tuple(streams)
        self.interval_ms = interval_ms
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._directory = tempfile.TemporaryDirectory(prefix="ovenbird-drill-")

    def __enter__(self) -> Load:
        """Start every probe."""
        for stream in self.streams:
            self._processes[stream.name] = self._start(stream)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop what still runs."""
        for process in self._processes.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=STOP_TIMEOUT_S)
            if process.stdin is not None:
                process.stdin.close()
        self._directory.cleanup()

    def stop(self) -> list[Record]:
        """End every probe and return what it recorded; raises `Timeout` for a probe that left no record."""
        for process in self._processes.values():
            assert process.stdin is not None
            process.stdin.close()
        records = []
        for stream in self.streams:
            try:
                self._processes[stream.name].wait(timeout=STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                raise Timeout(f"the probe {stream.name} does not stop", subject=stream.name) from None
            text = self._output(stream).read_text(encoding="utf-8")
            if not text:
                raise Timeout(f"the probe {stream.name} left no record", subject=stream.name, evidence=str(stream))
            records.append(Record.from_json(stream.name, json.loads(text)))
        return records

    def _start(self, stream: Stream) -> subprocess.Popen[bytes]:
        script = Path(probe.__file__).read_text(encoding="utf-8")
        argv = [sys.executable, "-I", "-c", script, stream.target]
        argv += ["--interval-ms", str(self.interval_ms), "--duration-s", str(LONGEST_S)]
        node = self.lab.node(stream.node)
        popen = node.workload(stream.workload).popen if stream.workload else node.popen
        with self._output(stream).open("wb") as output:
            return popen(argv, stdin=subprocess.PIPE, stdout=output, start_new_session=True)

    def _output(self, stream: Stream) -> Path:
        return Path(self._directory.name) / f"{stream.name}.json"
