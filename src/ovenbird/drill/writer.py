"""Writes and reads through the API while things break, each recorded with its times and what became of it.

A write declares one small port that carries the write's number in its name, its MAC and its address, so that NB's own
rows show what was lost, doubled or invented. One writer per central host prefers that host's API and goes on to the
others, as a client would; what was sent and not answered is never sent again. This module must never judge.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ovenbird.api.client import Client
from ovenbird.drill.outage import Record
from ovenbird.drill.record import Write
from ovenbird.model.cluster import Role
from ovenbird.model.errors import OvenbirdError, Refused, Timeout, Unavailable, UserError

NETWORK = "drill-writes"
CIDR = "10.214.0.0/16"
PREFIX = "drill-w-"
_MAC = "0a:64:77"
"""First half of the MACs of written ports; the other half is the number."""
LARGEST = 60_000
TIMEOUT_S = 2.0
STOP_TIMEOUT_S = 10.0
READ_PATH = f"/v1/objects/Network/{NETWORK}"
NOT_DONE = frozenset({"busy", "conflict"})
"""Codes of a `Timeout` that says that nothing was changed."""


def object_name(number: int) -> str:
    """Return the name of the port that write `number` declares."""
    return f"{PREFIX}{number}"


def mac_of(number: int) -> str:
    """Return the MAC that carries a number."""
    return f"{_MAC}:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"


def number_of(mac: str) -> int | None:
    """Return the number that a MAC carries; None for a MAC of somebody else."""
    head, tail = mac[: len(_MAC)], mac[len(_MAC) :].replace(":", "")
    return int(tail, 16) if head == _MAC and len(tail) == 6 else None


def document(number: int) -> str:
    """Return the declaration of one write."""
    at = number + 10
    spec = {"network": NETWORK, "mac": mac_of(number), "address": f"10.214.{at >> 8 & 255}.{at & 255}"}
    return json.dumps({"kind": "Port", "name": object_name(number), "spec": spec})


def outcome_of(error: OvenbirdError) -> str:
    """Return "refused" if the API vouches that nothing was written, else "unknown"."""
    if isinstance(error, UserError | Refused | Unavailable):
        return "refused"
    return "refused" if isinstance(error, Timeout) and error.code in NOT_DONE else "unknown"


class Centrals(Protocol):
    """Whose API is asked: a lab's, or that of the cluster that a live drill runs on."""

    @property
    def nodes(self) -> Mapping[str, Any]:
        """Hosts by name."""

    def central_sockets(self) -> Sequence[Path]:
        """Return the API sockets that can be reached now."""


class Servers:
    """The central hosts' APIs as one client sees them, preferring one; nodes come and go meanwhile."""

    REFRESH_S = 1.0

    def __init__(self, lab: Centrals, prefer: int) -> None:
        self._lab = lab
        self._prefer = prefer
        self._sockets: Sequence[Path] = []
        self._looked_s = -self.REFRESH_S

    def client(self) -> Client:
        """Return a client of the servers that are on now."""
        if time.monotonic() - self._looked_s >= self.REFRESH_S:
            with contextlib.suppress(OvenbirdError, OSError):  # a node went off while we looked
                self._sockets = self._lab.central_sockets()
                self._looked_s = time.monotonic()
        first = self._prefer % max(1, len(self._sockets))
        return Client([*self._sockets[first:], *self._sockets[:first]])

    def turn(self) -> None:
        """Prefer the next server, after this one failed."""
        self._prefer += 1
        self._looked_s = -self.REFRESH_S


class _Paced:
    """Does something at a steady pace in threads of its own, until stopped."""

    def __init__(self, per_s: float, threads: int, turn: Callable[[int], None], name: str) -> None:
        self._interval_s = threads / per_s
        self._turn = turn
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number, number / per_s), name=f"{name} {number}", daemon=True)
            for number in range(threads)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End; what is under way is finished first, within its deadline."""
        self._stopping.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=STOP_TIMEOUT_S)

    def _run(self, number: int, offset_s: float) -> None:
        due_s = time.monotonic() + offset_s
        while not self._stopping.wait(max(0.0, due_s - time.monotonic())):
            self._turn(number)
            # A turn that took long leaves out those it delayed: no burst afterwards.
            due_s = max(due_s + self._interval_s, time.monotonic())


class Writer:
    """Writes at a steady pace."""

    def __init__(self, lab: Centrals, per_s: float, *, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._servers = [Servers(lab, number) for number in range(_centrals(lab))]
        self._numbers = itertools.count(1)
        self._writes: list[Write] = []
        self._sent, self._acked = itertools.count(), itertools.count()
        self._paced = _Paced(per_s, len(self._servers), self._write, "drill writer")
        self.start, self.stop = self._paced.start, self._paced.stop

    def writes(self) -> list[Write]:
        """Return what was written so far, by number."""
        return sorted(self._writes, key=lambda write: write.number)

    def counted(self) -> tuple[int, int]:
        """Return how many writes were sent and acknowledged, counted apart from their records; ask once, at the end."""
        return next(self._sent), next(self._acked)

    def _write(self, worker: int) -> None:
        number = next(self._numbers)
        if number > LARGEST:
            return
        next(self._sent)
        servers = self._servers[worker]
        body = {"documents": [{"file": "drill", "text": document(number)}], "dry_run": False}
        sent_ns, answered_ns, revision, detail = time.time_ns(), None, None, ""
        try:
            answer = servers.client().post("/v1/apply", body, timeout_s=self._timeout_s)
            answered_ns, outcome, revision = time.time_ns(), "acked", int(answer["revision"])
            next(self._acked)
        except OvenbirdError as error:
            outcome, detail = outcome_of(error), f"{error.code}: {error.message}"
            servers.turn()
        self._writes.append(
            Write(
                number=number,
                object=object_name(number),
                sent_ns=sent_ns,
                answered_ns=answered_ns,
                outcome=outcome,
                detail=detail,
                revision=revision,
            )
        )


class Reader:
    """Reads at a steady pace, in the same way as the writers; its record is a stream named "read"."""

    def __init__(self, lab: Centrals, per_s: float, *, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._interval_ms = 1000 / per_s
        self._servers = [Servers(lab, number) for number in range(_centrals(lab))]
        self._sequence = itertools.count()
        self._sent: list[tuple[int, int]] = []
        self._received: list[tuple[int, int]] = []
        self._paced = _Paced(per_s, len(self._servers), self._read, "drill reader")
        self.start, self.stop = self._paced.start, self._paced.stop

    def record(self) -> Record:
        """Return what was asked and answered so far."""
        return Record(
            name="read",
            interval_ms=self._interval_ms,
            sent=sorted(self._sent),
            received=sorted(self._received, key=lambda pair: pair[1]),
            kind="read",
        )

    def _read(self, worker: int) -> None:
        servers, sequence, began_s = self._servers[worker], next(self._sequence), time.monotonic()
        self._sent.append((sequence, time.time_ns()))
        with contextlib.suppress(OvenbirdError):
            servers.client().get(READ_PATH, timeout_s=self._timeout_s)
            self._received.append((sequence, time.time_ns()))
            if time.monotonic() - began_s < self._timeout_s:
                return
        # No answer, or one from another server after the preferred one had been waited for.
        servers.turn()


def _centrals(lab: Centrals) -> int:
    return max(1, sum(bool(node.spec and Role.CENTRAL in node.spec.roles) for node in lab.nodes.values()))
