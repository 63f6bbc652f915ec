"""A traffic probe: sends ICMP echo requests at a fixed spacing and records when each answer arrived.

It runs as a script of its own inside a workload's network namespace (`python probe.py TARGET ...`), so that
the outage is measured where a workload would see it. Arrival times are the kernel's (SO_TIMESTAMPNS), not those of
a busy interpreter. It must never import anything but the standard library: it starts in milliseconds.
Output at its end, on stdout: JSON object {"target", "interval_ms", "sent": [[seq, unix_ns], ...], "received": [...]}.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import socket
import struct
import sys
import time

SO_TIMESTAMPNS = 35
ECHO_REQUEST, ECHO_REPLY = 8, 0


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071) of an even number of octets."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    total += total >> 16
    return int(~total & 0xFFFF)


def echo_request(identifier: int, sequence: int) -> bytes:
    """Return an ICMP echo request (RFC 792) that carries the whole sequence number in its data."""
    body = struct.pack("!II", sequence, 0x6F76656E)
    header = struct.pack("!BBHHH", ECHO_REQUEST, 0, 0, identifier, sequence & 0xFFFF)
    return struct.pack("!BBHHH", ECHO_REQUEST, 0, checksum(header + body), identifier, sequence & 0xFFFF) + body


def parse_reply(packet: bytes, identifier: int) -> int | None:
    """Return the sequence number of an answer to one of our requests, or None for any other packet."""
    header_length = (packet[0] & 0x0F) * 4
    icmp = packet[header_length:]
    if len(icmp) < 16:
        return None
    kind, _code, _sum, got_identifier, _short = struct.unpack("!BBHHH", icmp[:8])
    if kind != ECHO_REPLY or got_identifier != identifier:
        return None
    sequence, magic = struct.unpack("!II", icmp[8:16])
    return int(sequence) if magic == 0x6F76656E else None


class Probe:
    """One stream of echo requests to one target."""

    def __init__(self, target: str, interval_ms: float, duration_s: float) -> None:
        self.target = target
        self.interval_s = interval_ms / 1000
        self.duration_s = duration_s
        self.sent: list[tuple[int, int]] = []
        self.received: list[tuple[int, int]] = []
        self._identifier = os.getpid() & 0xFFFF
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.setblocking(False)

    def run(self) -> None:
        """Send and receive until the duration is over, or stdin says that whoever started us is done or dead."""
        start = time.monotonic()
        sequence = 0
        while True:
            due = start + sequence * self.interval_s
            now = time.monotonic()
            if now - start >= self.duration_s:
                return
            if now >= due:
                self._send(sequence)
                sequence += 1
                continue
            ready = select.select([self._socket, sys.stdin], [], [], due - now)[0]
            if self._socket in ready:
                self._receive()
            if sys.stdin in ready:
                return

    def _send(self, sequence: int) -> None:
        self.sent.append((sequence, time.time_ns()))
        try:
            self._socket.sendto(echo_request(self._identifier, sequence), (self.target, 0))
        except OSError:
            return  # no route or no buffer: a loss like any other, and the record shows it
        finally:
            self._receive()

    def _receive(self) -> None:
        while True:
            try:
                packet, ancillary, _flags, _address = self._socket.recvmsg(2048, 64)
            except BlockingIOError:
                return
            sequence = parse_reply(packet, self._identifier)
            if sequence is not None:
                self.received.append((sequence, _kernel_time_ns(ancillary)))


def _kernel_time_ns(ancillary: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack("@qq", data[:16])
            return int(seconds) * 1_000_000_000 + int(nanoseconds)
    return time.time_ns()


def main() -> None:
    """Run one probe from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--interval-ms", type=float, default=5.0)
    parser.add_argument("--duration-s", type=float, default=60.0)
    arguments = parser.parse_args()
    probe = Probe(arguments.target, arguments.interval_ms, arguments.duration_s)
    probe.run()
    record = {
        "target": arguments.target,
        "interval_ms": arguments.interval_ms,
        "sent": probe.sent,
        "received": probe.received,
    }
    json.dump(record, sys.stdout)


if __name__ == "__main__":
    main()
