"""Many UDP flows of one workload, each with a port of its own, to one address or several, and what the outside saw.

The two scripts run inside namespaces, with the machine's Python: an echo that tells the sender under which address it
is seen, and a sender that keeps every flow going and says at the end, per flow, which addresses it had and its largest
gap. All flows send together every 20 ms. The sender says when each of them has had some answers, and ends when each
has had as many again after it was told to: however slow the machine, what is measured has begins and ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ovenbird.lab.node import Node, Workload

PORT = 7100
ENOUGH = 25
"""Answers of each flow that show that it goes."""
STOP_S = 20.0
"""A flow that has no answers for so long at the end has none any more."""
ECHO = f"""
import selectors, socket, sys
selector = selectors.DefaultSelector()
for address in sys.argv[1:]:
    # One for each address: an answer must come from where the question went.
    one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    one.bind((address, {PORT}))
    selector.register(one, selectors.EVENT_READ)
while True:
    for key, _ in selector.select():
        data, peer = key.fileobj.recvfrom(100)
        key.fileobj.sendto(peer[0].encode(), peer)
"""
SEND = f"""
import json, selectors, socket, sys, time
count, targets = int(sys.argv[1]), sys.argv[2:]
selector, flows = selectors.DefaultSelector(), []
for number in range(count):
    target = targets[number % len(targets)]
    one = socket.socket(socket.AF_INET6 if ":" in target else socket.AF_INET, socket.SOCK_DGRAM)
    one.setblocking(False)
    one.connect((target, {PORT}))
    flow = {{"addresses": [], "last": None, "gap_ms": 0.0, "answers": 0}}
    flows.append(flow)
    selector.register(one, selectors.EVENT_READ, flow)
stop = selectors.DefaultSelector()
stop.register(sys.stdin, selectors.EVENT_READ)
due, said, ends = time.monotonic(), False, None
while ends is None or time.monotonic() < ends and any(flow["answers"] < {ENOUGH} for flow in flows):
    if not said and all(flow["answers"] >= {ENOUGH} for flow in flows):
        said = True
        print("flowing", flush=True)
    if ends is None and stop.select(0):
        ends = time.monotonic() + {STOP_S}
        for flow in flows:
            flow["answers"] = 0
    if time.monotonic() >= due:
        for key in selector.get_map().values():
            try:
                key.fileobj.send(b"?")
            except OSError:
                pass
        due = max(due + 0.02, time.monotonic())
    for key, _ in selector.select(max(0, due - time.monotonic())):
        try:
            address = key.fileobj.recv(100).decode()
        except OSError:
            continue
        flow, now = key.data, time.monotonic()
        if flow["last"] is not None:
            flow["gap_ms"] = max(flow["gap_ms"], 1000 * (now - flow["last"]))
        if flow["addresses"][-1:] != [address]:
            flow["addresses"].append(address)
        flow["last"] = now
        flow["answers"] += 1
for flow in flows:
    if flow["last"] is not None:
        flow["gap_ms"] = max(flow["gap_ms"], 1000 * (time.monotonic() - flow["last"]))
print(json.dumps(flows))
"""


@dataclass(frozen=True)
class Flow:
    """One flow, as it went."""

    addresses: tuple[str, ...]
    """Those under which the outside saw it, one after the other."""
    gap_ms: float
    """Largest time without an answer."""


class Flows:
    """Running flows: `wait_flowing` first; `stop` ends them and returns how they went."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def stop(self) -> list[Flow]:
        """End the flows."""
        output, _ = self._process.communicate(b"\n", timeout=3 * STOP_S)
        return [Flow(tuple(one["addresses"]), one["gap_ms"]) for one in json.loads(output)]

    def wait_flowing(self) -> None:
        """Return once each flow has had answers; raises AssertionError when some have none in time."""
        stdout = self._process.stdout
        assert stdout is not None
        ready, _, _ = select.select([stdout], [], [], 3 * STOP_S)
        assert ready and os.read(stdout.fileno(), 100) == b"flowing\n", "some flows have no answers"


@contextlib.contextmanager
def flows(source: Workload, target: Node, addresses: Sequence[str], count: int) -> Iterator[Flows]:
    """Run `count` flows from a workload to addresses of `target`, in turn."""
    echo = target.popen([sys.executable, "-I", "-c", ECHO, *addresses], start_new_session=True)
    argv = [sys.executable, "-I", "-c", SEND, str(count), *addresses]
    sender = source.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    try:
        yield Flows(sender)
    finally:
        for process in (sender, echo):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=10)
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()
