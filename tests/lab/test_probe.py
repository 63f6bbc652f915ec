"""The probe on the loopback interface of a network namespace of its own: all kinds of stream, and what ends them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.waiting import eventually_sync

from ovenbird.drill import probe

pytestmark = pytest.mark.lab

STREAMS = {
    "icmp": ("icmp", "127.0.0.1"),
    "icmp-ipv6": ("icmp", "::1"),
    "udp": ("udp", "127.0.0.1"),
    "tcp": ("tcp", "127.0.0.1"),
    "pull": ("pull", "127.0.0.1"),
}
KINDS = tuple(STREAMS)


class Running:
    """A probe whose streams all lead to itself."""

    def __init__(self, directory: Path) -> None:
        self.output = directory / "out.jsonl"
        streams = [{"name": name, "kind": kind, "target": target} for name, (kind, target) in STREAMS.items()]
        given = {"interval_ms": 5, "duration_s": 60, "first_sequence": 0, "streams": streams}
        script = directory / "probe.py"
        script.write_text(Path(probe.__file__).read_text())
        inner = f"ip link set lo up; exec {sys.executable} -I {script} '{json.dumps(given)}'"
        with self.output.open("wb") as output:
            command = ["unshare", "-n", "sh", "-c", inner]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, start_new_session=True)

    def lines(self) -> list[dict]:
        return [json.loads(line) for line in self.output.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def parts(self, kind: str, what: str) -> list:
        return [pair for line in self.lines() if line.get("name") == kind for pair in line[what]]

    def inside(self, *command: str) -> None:
        net = f"--net=/proc/{self.process.pid}/ns/net"
        subprocess.run(["nsenter", net, *command], check=True, timeout=10, stdout=subprocess.DEVNULL)

    def stop(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(timeout=10)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    one = Running(tmp_path)
    try:
        yield one
    finally:
        one.process.kill()
        one.process.wait(timeout=10)
        if one.process.stdin is not None:
            one.process.stdin.close()


def flowing(one: Running) -> set[str]:
    return {line["flowing"] for line in one.lines() if "flowing" in line}


def test_every_kind_of_stream_flows_and_loses_nothing(running: Running) -> None:
    eventually_sync(lambda: flowing(running) == set(KINDS), within_s=10)
    eventually_sync(lambda: all(len(running.parts(kind, "received")) > 200 for kind in KINDS), within_s=20)
    assert running.stop() == 0
    for kind in KINDS:
        sent, received = dict(running.parts(kind, "sent")), dict(running.parts(kind, "received"))
        assert len(sent.keys() - received.keys()) <= 2, f"{kind}: only the last may still be under way"
        assert received.keys() <= sent.keys()
        assert all(received[seq] >= sent[seq] for seq in received if kind != "tcp")
        assert running.parts(kind, "breaks") == []


def test_a_connection_that_is_reset_is_a_break_and_a_new_one_goes_on(running: Running) -> None:
    eventually_sync(lambda: flowing(running) == set(KINDS), within_s=10)
    reset = "tcp flags & (fin|syn|rst) == 0 tcp dport 7007 counter reject with tcp reset"
    running.inside(
        "nft", f"add table ip t; add chain ip t c {{ type filter hook input priority 0; }}; add rule ip t c {reset}"
    )
    eventually_sync(lambda: running.parts("tcp", "breaks"), within_s=10)
    running.inside("nft", "delete table ip t")
    at_ns, why = running.parts("tcp", "breaks")[-1]
    assert "reset" in why.lower()
    eventually_sync(lambda: any(at > at_ns for _seq, at in running.parts("tcp", "received")), within_s=10)
    assert running.parts("udp", "breaks") == []


def test_silence_is_not_a_break(running: Running) -> None:
    """What an outage does to a connection that lives through it: a gap, then everything that was under way."""
    eventually_sync(lambda: flowing(running) == set(KINDS), within_s=10)
    running.inside("ip", "link", "set", "lo", "down")
    count = len(running.parts("udp", "sent"))
    eventually_sync(lambda: len(running.parts("udp", "sent")) > count + 200, within_s=10)
    running.inside("ip", "link", "set", "lo", "up")
    last = max(seq for seq, _at in running.parts("tcp", "sent"))
    eventually_sync(lambda: max(seq for seq, _at in running.parts("tcp", "received")) > last, within_s=20)
    assert running.stop() == 0
    lost = dict(running.parts("udp", "sent")).keys() - dict(running.parts("udp", "received")).keys()
    assert len(lost) > 100
    assert running.parts("tcp", "breaks") == []
