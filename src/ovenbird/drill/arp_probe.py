"""Asks the outside switch who has some addresses, and records who answers through which port of the switch.

It runs as a script of its own on the lab's machine (`python arp_probe.py '{...}'`): it sends from the outside host's
network namespace and listens on every port in the fabric's, so that two that answer at once are both seen. An answer
teaches the switch where its sender is, as all traffic of a gateway does. It must never import anything but the
standard library.

Its argument is a JSON object {"outside": "/proc/PID/ns/net", "fabric": the same, "interface", "sender": IPv4 address,
"addresses": [...], "interval_ms", "duration_s"}. On stdout, one JSON object per line whenever another than before
answers for an address: {"at", "address", "mac", "port", "previous": {"mac", "port", "last_ns"} or null}; at its end
{"last": {address: {"mac", "port", "last_ns"}}}. It ends when its stdin closes.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import socket
import struct
import sys
import time
from typing import Any

CLONE_NEWNET = 0x40000000
ETH_P_ALL, ETH_P_ARP = 0x0003, 0x0806
SO_ATTACH_FILTER, SO_TIMESTAMPNS, SOL_PACKET, PACKET_IGNORE_OUTGOING = 26, 35, 263, 23
ARP = struct.Struct("!HHBBH6s4s6s4s")
REQUEST, ANSWER = 1, 2
HEADER_BYTES = 14
FILTER = (
    (0x28, 0, 0, 12),  # load the EtherType
    (0x15, 0, 3, ETH_P_ARP),
    (0x28, 0, 0, 20),  # load ARP's operation
    (0x15, 0, 1, ANSWER),
    (0x06, 0, 0, 0xFFFF),  # take it
    (0x06, 0, 0, 0),  # drop it
)
"""Classic BPF: only ARP answers reach us, however much traffic there is (linux/filter.h)."""


def enter(namespace: str) -> None:
    """Move this process into a network namespace; sockets opened before stay where they are (setns(2))."""
    descriptor = os.open(namespace, os.O_RDONLY)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(descriptor, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns", namespace)
    finally:
        os.close(descriptor)


def sender_in(namespace: str, interface: str) -> tuple[socket.socket, bytes]:
    """Return a socket that sends from an interface, and the interface's MAC."""
    enter(namespace)
    sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sender.bind((interface, 0))
    sender.setblocking(False)
    return sender, sender.getsockname()[4]


def listener_in(namespace: str) -> socket.socket:
    """Return a socket that hears the ARP answers that come in through any port of the switches in a namespace."""
    enter(namespace)
    # Of all protocols: taps come before a bridge takes its packets away, a protocol's own handler would come after.
    listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in FILTER))
    pointer = struct.pack("@HP", len(FILTER), ctypes.addressof(program))
    listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, pointer)
    listener.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    listener.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    listener.setblocking(False)
    return listener


def request(mac: bytes, sender: str, wanted: str) -> bytes:
    """Return a broadcast ARP request (RFC 826)."""
    head = b"\xff" * 6 + mac + struct.pack("!H", ETH_P_ARP)
    body = ARP.pack(1, 0x0800, 6, 4, REQUEST, mac, socket.inet_aton(sender), b"\0" * 6, socket.inet_aton(wanted))
    return head + body


class Answers:
    """Who answers for which address."""

    def __init__(self, addresses: list[str]) -> None:
        self.last: dict[str, dict[str, Any]] = {}
        self._addresses = frozenset(addresses)

    def heard(self, packet: bytes, port: str, at_ns: int) -> None:
        """Take in one answer; tell if it came from another than the last one."""
        kind, body = packet[HEADER_BYTES - 2 : HEADER_BYTES], packet[HEADER_BYTES : HEADER_BYTES + ARP.size]
        if kind != struct.pack("!H", ETH_P_ARP) or len(body) < ARP.size:
            return  # came in before the filter was in place
        fields = ARP.unpack(body)
        address, mac = socket.inet_ntoa(fields[6]), fields[5].hex(":")
        if fields[4] != ANSWER or address not in self._addresses:
            return
        previous = self.last.get(address)
        self.last[address] = {"mac": mac, "port": port, "last_ns": at_ns}
        if previous is None or (previous["mac"], previous["port"]) != (mac, port):
            say({"at": at_ns, "address": address, "mac": mac, "port": port, "previous": previous})


def say(line: dict[str, Any]) -> None:
    """Write one line of the record."""
    sys.stdout.write(json.dumps(line, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def kernel_time_ns(ancillary: list[tuple[int, int, bytes]]) -> int:
    """Return when the kernel got what was just received."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack("@qq", data[:16])
            return int(seconds) * 1_000_000_000 + int(nanoseconds)
    return time.time_ns()


def run(given: dict[str, Any]) -> None:
    """Ask and listen until the time is over or stdin closes."""
    sender, mac = sender_in(given["outside"], given["interface"])
    listener = listener_in(given["fabric"])
    answers = Answers(given["addresses"])
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin, selectors.EVENT_READ)
    selector.register(listener, selectors.EVENT_READ)
    start_s = due_s = time.monotonic()
    ended = False
    while not ended and due_s - start_s < float(given["duration_s"]):
        now_s = time.monotonic()
        if now_s >= due_s:
            due_s = max(due_s + float(given["interval_ms"]) / 1000, now_s)
            for address in given["addresses"]:
                with contextlib.suppress(OSError):  # the outside host's link is down: nobody answers then
                    sender.send(request(mac, given["sender"], address))
        for key, _events in selector.select(max(0.0, due_s - time.monotonic())):
            if key.fileobj is sys.stdin:
                ended = True
            else:
                with contextlib.suppress(OSError):
                    packet, ancillary, _flags, origin = listener.recvmsg(2048, 64)
                    answers.heard(packet, str(origin[0]), kernel_time_ns(ancillary))
    say({"last": answers.last})


if __name__ == "__main__":
    run(json.loads(sys.argv[1]))
