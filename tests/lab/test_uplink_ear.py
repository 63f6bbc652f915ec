"""Answers that arrive at an uplink are heard although the host itself drops all of it; nothing else wakes the agent."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.lab

SCRIPT = """
import json, select, socket, struct, subprocess
from ovenbird.host.arp_probe import ArpSocket

for line in ("link add up0 type veth peer name wire", "link set up0 up", "link set wire up"):
    subprocess.run(["ip", *line.split()], check=True)
drop = "add table netdev t; add chain netdev t c { type filter hook ingress device up0 priority 0; policy drop; }"
subprocess.run(["nft", drop], check=True)
ear = ArpSocket("up0")
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
wire.bind(("wire", 0))
ours, theirs = b"\\x0a\\0\\0\\0\\0\\1", b"\\2\\0\\0\\0\\0\\2"

def frame(operation, ethertype=0x0806, tag=b""):
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + theirs + bytes([172, 16, 0, 254]) + ours + bytes(4)
    return (ours + theirs + tag + struct.pack("!H", ethertype) + body).ljust(64, b"\\0")

for each in (frame(1), frame(2, 0x0800), frame(2), frame(2, tag=struct.pack("!HH", 0x8100, 7))):
    wire.send(each)
heard = []
while len(heard) < 2 and select.select([ear], [], [], 20)[0]:
    heard += ear.replies()
print(json.dumps([[one.destination.hex(":"), one.who.address, one.who.vlan, one.ago_s < 20] for one in heard]))
"""


def test_replies_are_heard_before_the_switch_has_them_with_their_vlan_and_time() -> None:
    argv = ["unshare", "--net", sys.executable, "-c", SCRIPT]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    answer = ["0a:00:00:00:00:01", "172.16.0.254"]
    assert json.loads(done.stdout) == [[*answer, 0, True], [*answer, 7, True]]
