"""One end of a drill's traffic: sends on each stream at a fixed spacing, records when answers came, answers others.

It runs as a script of its own inside a network namespace (`python probe.py '{...}'`), one process for all streams of
that namespace, so that outages are measured where a workload would see them and a small machine is not kept busy by
the measuring. Arrival times are the kernel's (SO_TIMESTAMPNS), not those of a busy interpreter. It must never import
anything but the standard library: it starts in milliseconds, wherever the machine's Python is.

Its argument is a JSON object {"interval_ms", "duration_s", "first_sequence", "responds" (whether it answers UDP and TCP
of others), "is_first" (whether nothing of the usual may run before it), "streams": [{"name", "kind", "target"}]}.
On stdout, one JSON object per line: {"flowing": name} at a stream's first answer; every second what was new since,
{"name", "sent": [[seq, unix_ns], ...], "received": [...], "breaks": [[unix_ns, why], ...]}, so that a killed probe
leaves what it saw. It ends when its stdin closes: when whoever started it is done, or dead.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import selectors
import socket
import struct
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

SO_TIMESTAMPNS = 35
SOL_RAW, ICMP_FILTER, ICMPV6_FILTER = 255, 1, 1
"""linux/icmp.h, linux/icmpv6.h; the kinds of message to drop, one bit each."""
ECHO_REQUEST, ECHO_REPLY = 8, 0
ECHO_REQUEST_6, ECHO_REPLY_6 = 128, 129
MAGIC = 0x6F76656E
UDP_PORT, TCP_PORT, PULL_PORT = 7007, 7007, 7008
FRAME = struct.Struct("!II")
TIMED = struct.Struct("!QI")  # a pull stream's: when it was sent, unix nanoseconds
CONNECT_S, RETRY_S = 1.0, 0.2
STALL_S = 30.0
"""A connection that has been silent for this long is given up. TCP itself would go on for a quarter of an hour."""
FLUSH_S, IDLE_S = 1.0, 0.2
URGENCY = -10
"""nice(2) value: a machine that is busy with the fault should not look like an outage."""
FIRST = 2
"""Priority among real-time processes (sched(7)): before hosts' switches. A lab's hosts share processors, and a probe
that waits for one would be measured instead of the network; it sleeps most of the time."""
BUFFER_BYTES = 1 << 20


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071) of an even number of octets."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    total += total >> 16
    return int(~total & 0xFFFF)


def echo_request(identifier: int, sequence: int) -> bytes:
    """Return an ICMP echo request (RFC 792) that carries the whole sequence number in its data."""
    body = FRAME.pack(sequence, MAGIC)
    header = struct.pack("!BBHHH", ECHO_REQUEST, 0, 0, identifier, sequence & 0xFFFF)
    return struct.pack("!BBHHH", ECHO_REQUEST, 0, checksum(header + body), identifier, sequence & 0xFFFF) + body


def echo_request_6(identifier: int, sequence: int) -> bytes:
    """Return the same of ICMPv6 (RFC 4443); its checksum is the kernel's (RFC 3542 section 3.1)."""
    return struct.pack("!BBHHH", ECHO_REQUEST_6, 0, 0, identifier, sequence & 0xFFFF) + FRAME.pack(sequence, MAGIC)


def parse_reply(packet: bytes, identifier: int) -> int | None:
    """Return the sequence number of an answer to one of our requests, or None for any other packet."""
    return parse_icmp(packet[(packet[0] & 0x0F) * 4 :], ECHO_REPLY, identifier)


def parse_icmp(icmp: bytes, answer: int, identifier: int) -> int | None:
    """Return the same for a message without its IP header, as the kernel gives those of ICMPv6."""
    if len(icmp) < 16:
        return None
    kind, _code, _sum, got_identifier, _short = struct.unpack("!BBHHH", icmp[:8])
    if kind != answer or got_identifier != identifier:
        return None
    sequence, magic = FRAME.unpack(icmp[8:16])
    return int(sequence) if magic == MAGIC else None


def kernel_time_ns(ancillary: list[tuple[int, int, bytes]]) -> int:
    """Return when the kernel got what was just received."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack("@qq", data[:16])
            return int(seconds) * 1_000_000_000 + int(nanoseconds)
    return time.time_ns()


class Stream(ABC):
    """What one stream sent and got back."""

    def __init__(self, name: str, target: str, selector: selectors.BaseSelector) -> None:
        self.name = name
        self.target = target
        self.sent: list[tuple[int, int]] = []
        self.received: list[tuple[int, int]] = []
        self.breaks: list[tuple[int, str]] = []
        self.flows = False
        self._selector = selector

    @abstractmethod
    def tick(self, sequence: int) -> None:
        """Send one request."""

    def arrived(self, sequence: int, at_ns: int) -> None:
        """Record an answer."""
        self.received.append((sequence, at_ns))
        if not self.flows:
            self.flows = True
            say({"flowing": self.name})

    def flush(self) -> None:
        """Write out what is new."""
        if self.sent or self.received or self.breaks:
            say({"name": self.name, "sent": self.sent, "received": self.received, "breaks": self.breaks})
            self.sent, self.received, self.breaks = [], [], []


class DatagramStream(Stream):
    """Echo requests by ICMP or UDP: each answered for itself, or lost."""

    def __init__(self, name: str, target: str, selector: selectors.BaseSelector, *, identifier: int | None) -> None:
        super().__init__(name, target, selector)
        self._identifier = identifier
        self._socket = self._open()
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        self._socket.setblocking(False)
        self._connected = False
        selector.register(self._socket, selectors.EVENT_READ, self._receive)

    def _open(self) -> socket.socket:
        if self._identifier is None:
            return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        opened.setsockopt(SOL_RAW, ICMP_FILTER, struct.pack("=I", ~(1 << ECHO_REPLY) & 0xFFFFFFFF))
        return opened

    def tick(self, sequence: int) -> None:
        """Send one request."""
        self.sent.append((sequence, time.time_ns()))
        identifier = self._identifier
        packet = FRAME.pack(sequence, MAGIC) if identifier is None else echo_request(identifier, sequence)
        with contextlib.suppress(OSError):  # no route or no buffer: a loss like any other, and the record shows it
            if not self._connected:
                self._socket.connect((self.target, UDP_PORT))
                self._connected = True
            self._socket.send(packet)

    def _receive(self, _events: int) -> None:
        while True:
            try:
                packet, ancillary, _flags, _address = self._socket.recvmsg(2048, 64)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error for something sent before
            sequence = self._parse(packet)
            if sequence is not None:
                self.arrived(sequence, kernel_time_ns(ancillary))

    def _parse(self, packet: bytes) -> int | None:
        if self._identifier is not None:
            return parse_reply(packet, self._identifier)
        if len(packet) != FRAME.size:
            return None
        sequence, magic = FRAME.unpack(packet)
        return int(sequence) if magic == MAGIC else None


class Icmpv6Stream(DatagramStream):
    """Echo requests by ICMPv6.

    It connects to nobody: a socket would keep the source address of its first packet, and a workload that has just
    started has none yet but its link-local one.
    """

    def _open(self) -> socket.socket:
        opened = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        dropped = bytearray(b"\xff" * 32)
        struct.pack_into("=I", dropped, ECHO_REPLY_6 // 32 * 4, ~(1 << ECHO_REPLY_6 % 32) & 0xFFFFFFFF)
        opened.setsockopt(socket.IPPROTO_ICMPV6, ICMPV6_FILTER, bytes(dropped))
        return opened

    def tick(self, sequence: int) -> None:
        """Send one request."""
        self.sent.append((sequence, time.time_ns()))
        with contextlib.suppress(OSError):
            self._socket.sendto(echo_request_6(self._identifier or 0, sequence), (self.target, 0))

    def _parse(self, packet: bytes) -> int | None:
        return parse_icmp(packet, ECHO_REPLY_6, self._identifier or 0)


class TcpStream(Stream):
    """Small segments on one long connection, echoed by the other end; a new connection only when that one has ended."""

    port, frame, _next = TCP_PORT, FRAME, 0

    def __init__(self, name: str, target: str, selector: selectors.BaseSelector) -> None:
        super().__init__(name, target, selector)
        self._socket: socket.socket | None = None
        self._open = self._was_open = False
        self._deadline_s = self._retry_s = 0.0
        """While connecting: when to give that up. Else: when silence has lasted too long. When to connect again."""
        self._unsent = self._partial = b""

    def tick(self, sequence: int) -> None:
        """Send one segment, or see to the connection."""
        if self._was_open:
            self.sent.append((sequence, time.time_ns()))
        if self._see_to(time.monotonic()):
            self._send(b"" if self._unsent else FRAME.pack(sequence, MAGIC))

    def _see_to(self, now_s: float) -> bool:
        """Open the connection again, or give it up, when it is time; return whether it is open."""
        if self._socket is None and now_s >= self._retry_s:
            self._connect(now_s)
        elif self._socket is not None and now_s >= self._deadline_s:
            self._end(f"nothing came for {STALL_S:g} s" if self._open else "")
        return self._open

    def _connect(self, now_s: float) -> None:
        fresh = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        fresh.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        fresh.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        fresh.setblocking(False)
        self._socket, self._open, self._deadline_s = fresh, False, now_s + CONNECT_S
        self._unsent = self._partial = b""
        if fresh.connect_ex((self.target, self.port)) not in (0, errno.EINPROGRESS):
            self._end("")
            return
        self._selector.register(fresh, selectors.EVENT_WRITE, self._ready)

    def _ready(self, events: int) -> None:
        assert self._socket is not None
        if self._open:
            if events & selectors.EVENT_READ:
                self._receive(self._socket)
            return
        if self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._end("")
            return
        self._open = self._was_open = True
        self._deadline_s = time.monotonic() + STALL_S
        self._selector.modify(self._socket, selectors.EVENT_READ, self._ready)

    def _send(self, frame: bytes) -> None:
        assert self._socket is not None
        data = self._unsent + frame
        try:
            self._unsent = data[self._socket.send(data) :]
        except BlockingIOError:
            self._unsent = data
        except OSError as error:
            self._end(error.strerror or str(error))

    def _receive(self, connection: socket.socket) -> None:
        try:
            data, ancillary, _flags, _address = connection.recvmsg(65536, 64)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(error.strerror or str(error))
            return
        if not data:
            self._end("closed by the other end")
            return
        self._deadline_s = time.monotonic() + STALL_S
        at_ns, data = kernel_time_ns(ancillary), self._partial + data
        whole = len(data) - len(data) % self.frame.size
        self._partial = data[whole:]
        for number, magic in self.frame.iter_unpack(data[:whole]):
            if magic == MAGIC:
                self._took(number, at_ns)

    _took = Stream.arrived

    def _end(self, why: str) -> None:
        """Close; `why` is empty for a connection that never was."""
        if self._socket is not None:
            with contextlib.suppress(KeyError):
                self._selector.unregister(self._socket)
            self._socket.close()
        if why:
            self.breaks.append((time.time_ns(), why))
        self._socket, self._open, self._retry_s = None, False, time.monotonic() + RETRY_S


class PullStream(TcpStream):
    """A download: the other end sends, and this one has nothing to say but TCP's own acknowledgements."""

    port, frame = PULL_PORT, TIMED

    def tick(self, sequence: int) -> None:
        """See to the connection."""
        self._next = self._next or sequence
        self._see_to(time.monotonic())

    def _took(self, sent_ns: int, at_ns: int) -> None:
        self.sent.append((self._next, sent_ns))
        self.arrived(self._next, at_ns)
        self._next += 1


class Responder:
    """Sends back what comes in by UDP and TCP, and feeds those who pull."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        self._udp.bind(("0.0.0.0", UDP_PORT))
        self._tcp = socket.create_server(("0.0.0.0", TCP_PORT), backlog=64)
        self._pulled = socket.create_server(("0.0.0.0", PULL_PORT), backlog=64)
        self.feeds: dict[socket.socket, bytes] = {}
        """Connections of those who pull, and what of the last frame could not be sent yet."""
        for one in (self._udp, self._tcp, self._pulled):
            one.setblocking(False)
        selector.register(self._udp, selectors.EVENT_READ, self._datagrams)
        selector.register(self._tcp, selectors.EVENT_READ, self._accept)
        selector.register(self._pulled, selectors.EVENT_READ, self._accept_pull)

    def feed(self) -> None:
        """Send one frame to everybody who pulls; none to whose last one still waits."""
        for connection, unsent in list(self.feeds.items()):
            data = unsent or TIMED.pack(time.time_ns(), MAGIC)
            try:
                with contextlib.suppress(BlockingIOError):
                    self.feeds[connection] = data[connection.send(data) :]
            except OSError:
                del self.feeds[connection]
                connection.close()

    def _datagrams(self, _events: int) -> None:
        while True:
            try:
                packet, sender = self._udp.recvfrom(2048)
                self._udp.sendto(packet, sender)
            except BlockingIOError:
                return
            except OSError:
                continue

    def _accept(self, _events: int) -> None:
        if connection := accepted(self._tcp):
            self._selector.register(connection, selectors.EVENT_READ, lambda _events: self._echo(connection))

    def _accept_pull(self, _events: int) -> None:
        if connection := accepted(self._pulled):
            self.feeds[connection] = b""

    def _echo(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            data = connection.recv(65536)
            if data and connection.send(data) == len(data):
                return
        # Ended, or so far behind that its buffer is full: the other end sees it as a break of the connection.
        self._selector.unregister(connection)
        connection.close()


def accepted(listener: socket.socket) -> socket.socket | None:
    """Return a new connection, if there is one."""
    try:
        connection, _address = listener.accept()
    except OSError:
        return None
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def say(line: dict[str, Any]) -> None:
    """Write one line of the record."""
    sys.stdout.write(json.dumps(line, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def make(streams: list[dict[str, str]], selector: selectors.BaseSelector) -> list[Stream]:
    """Return the streams that the argument describes."""
    made: list[Stream] = []
    # Not the pid: hosts of a lab count pids of their own, alike. Two senders behind one SNAT address with the same
    # identifier are one to a userspace conntrack, which translates no ICMP identifiers: the second hears nothing.
    first = int.from_bytes(os.urandom(2), "big")
    for at, one in enumerate(streams):
        if kind := {"tcp": TcpStream, "pull": PullStream}.get(one["kind"]):
            made.append(kind(one["name"], one["target"], selector))
        else:
            identifier = (first + at) & 0xFFFF if one["kind"] == "icmp" else None
            way = Icmpv6Stream if ":" in one["target"] else DatagramStream
            made.append(way(one["name"], one["target"], selector, identifier=identifier))
    return made


def hurry(*, is_first: bool) -> None:
    """Come before other processes, as far as this one may."""
    if is_first:
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(FIRST))
            return
    with contextlib.suppress(OSError):
        os.nice(URGENCY)


def run(given: dict[str, Any]) -> None:
    """Send, receive and answer until the time is over or stdin closes."""
    hurry(is_first=bool(given.get("is_first")))
    selector = selectors.DefaultSelector()
    ended = False

    def end(_events: int) -> None:
        nonlocal ended
        ended = True

    selector.register(sys.stdin, selectors.EVENT_READ, end)
    responder = Responder(selector) if given.get("responds", True) else None
    streams = make(given["streams"], selector)
    start_s = due_s = flush_s = time.monotonic()
    sequence = int(given["first_sequence"])
    while not ended and due_s - start_s < float(given["duration_s"]):
        now_s = time.monotonic()
        if now_s >= due_s:
            for stream in streams:
                stream.tick(sequence)
            if responder:
                responder.feed()
            sequence += 1
            interval_s = float(given["interval_ms"]) / 1000 if streams or (responder and responder.feeds) else IDLE_S
            # Ticks missed while this process had no processor are left out, not made up for in a burst.
            due_s = max(due_s + interval_s, now_s)
        if now_s - flush_s >= FLUSH_S:
            flush_s = now_s
            for stream in streams:
                stream.flush()
        for key, events in selector.select(max(0.0, due_s - time.monotonic())):
            handler: Callable[[int], None] = key.data
            handler(events)
    for stream in streams:
        stream.flush()


if __name__ == "__main__":
    run(json.loads(sys.argv[1]))
