"""Makes rows of the objects that a great change has stored many in a row (`ovenbird.controller.batches`).

The acting controller does it as soon as NB holds the change, and whoever else wants to write before that does it first:
it changes nothing of what is declared, needs a batch that is still there, and takes that away, all in one transaction.
So it happens once, whoever tries and however often, also one who only believes to be the acting controller.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol, TypeVar

from ovenbird.controller.batches import Batch, Operation
from ovenbird.controller.events import BATCH_UNPACKED, Events
from ovenbird.controller.records import object_uuid
from ovenbird.controller.state import DeclaredState
from ovenbird.controller.writer import ROW_S, Proposal
from ovenbird.model.errors import OvenbirdError, Refused
from ovenbird.model.objects import Key
from ovenbird.ovsdb import Transaction

T = TypeVar("T")

NB_FIRST_S = 2.0
"""For so long, and `ROW_S` more for each object, NB has the servers' time for itself."""
LOOK_EVERY_S = 0.02
RETRY_S = 0.5


class Unpacked(Protocol):
    """Where there are batches."""

    state: DeclaredState

    async def unpack(self) -> None:
        """Unpack the oldest batch."""


class Leader(Protocol):
    """What is asked of the election."""

    @property
    def is_leader(self) -> bool:
        """Whether this process acts."""

    @property
    def committed_revision(self) -> int:
        """Declared revision that NB holds."""


class Unpacking:
    """The acting controller's part. It costs nothing while there is no batch."""

    def __init__(self, store: Unpacked, leader: Leader, events: Events) -> None:
        self._store = store
        self._leader = leader
        self._events = events
        self._woken = asyncio.Event()

    def look(self) -> None:
        """Look whether there is a batch. It does not block."""
        if self._store.state.batches:
            self._woken.set()

    async def run(self) -> None:
        """Unpack for ever."""
        while True:
            if not self._store.state.batches:
                self._woken.clear()
                await self._woken.wait()
            elif await self._is_due():
                try:
                    await self._unpack_all()
                except OvenbirdError:
                    await asyncio.sleep(RETRY_S)  # the database cannot be written to, of which others tell

    async def _is_due(self) -> bool:
        """Wait until NB has what the batches say, or has had its time; False when none of it is for us any more."""
        batches = self._store.state.batches
        objects = sum(len(batch.entries) for batch in batches)
        revision = max(batch.revision for batch in batches)
        until_s = time.monotonic() + NB_FIRST_S + ROW_S * objects
        while self._store.state.batches:
            leads = self._leader.is_leader
            if leads and (self._leader.committed_revision >= revision or time.monotonic() > until_s):
                return True
            await asyncio.sleep(LOOK_EVERY_S)
        return False

    async def _unpack_all(self) -> None:
        began_s, objects, revision = time.monotonic(), 0, 0
        while self._store.state.batches and self._leader.is_leader:
            batch = next(iter(self._store.state.batches))
            await self._store.unpack()
            objects, revision = objects + len(batch.entries), batch.revision
        took_ms = round(1000 * (time.monotonic() - began_s))
        self._events.emit(BATCH_UNPACKED, revision=revision, objects=objects, took_ms=took_ms)


def unpack_first(
    state: DeclaredState, outcome: T, key: Key | None = None, *, is_final: bool = False
) -> Proposal[T] | None:
    """Propose to unpack a batch before anything else is written; None when there is none, or none with this object.

    Raises Refused when there is one that cannot be read: what is declared is not known.
    """
    if unreadable := sorted(str(each) for each in state.unreadable if each.kind == "Batch"):
        raise Refused(
            "a change that was stored cannot be read by this version",
            code="unreadable_batch",
            subject=unreadable[0],
            evidence="; ".join(f"{each}: {state.unreadable[Key(*each.split('/', 1))]}" for each in unreadable),
            hint="a newer version of Ovenbird wrote it: update this host",
        )
    if not state.batches or (key is not None and key not in state.batches):
        return None
    batch = next(iter(state.batches))
    return Proposal(
        outcome,
        unpack(batch),
        lambda: batch.id not in state.batches.ids,
        rows=len(batch.entries),
        is_final=is_final,
    )


def unpack(batch: Batch) -> Transaction:
    """Return the transaction that makes a batch's rows and takes it away, if it is still there."""
    revision, part = batch.id
    txn = Transaction(f"unpack part {part} of revision {revision}")
    txn.wait_exists("Batch", uuid=batch.uuid)
    for entry in batch.entries:
        uuid = object_uuid(entry.key)
        match entry.operation:
            case Operation.INSERT:
                txn.insert("Object", entry.row(revision), uuid=uuid)
            case Operation.UPDATE:
                txn.update("Object", entry.row(revision), uuid=uuid)
            case Operation.DELETE:
                txn.delete("Object", uuid=uuid)
    txn.delete("Batch", uuid=batch.uuid)
    return txn
