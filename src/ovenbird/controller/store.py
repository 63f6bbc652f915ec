"""The declared state of a cluster in its Ovenbird database: what it is, and every way to change it.

It is read from a replica, so that questions cost nothing, and written by `ovenbird.controller.writer`, one transaction
per change whatever its size. This module must never act on NB.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

from ovenbird.controller import proposals
from ovenbird.controller.events import STORE_OBJECT_UNREADABLE, STORE_READY, STORE_WRONG_CLUSTER, Events
from ovenbird.controller.proposals import ApplyOutcome
from ovenbird.controller.records import CLUSTER_UUID, AttachmentRecord, NodeRecord
from ovenbird.controller.state import DeclaredState, Prospect, StateChange
from ovenbird.controller.supervisor import keep_running
from ovenbird.controller.unpacking import unpack_first
from ovenbird.controller.waiting import LOOK_AGAIN_S, Changing
from ovenbird.controller.writer import WRITE_TIMEOUT_S, Proposal, Writer
from ovenbird.model.cluster import Cluster, Database
from ovenbird.model.documents import Document
from ovenbird.model.errors import OvenbirdError, Refused, Unavailable
from ovenbird.model.objects import Key
from ovenbird.ovsdb import Backoff, Client, OvsdbError, Replica, Transaction
from ovenbird.plan.inventory import Inventory

TABLES: Mapping[str, None] = dict.fromkeys(
    ("Cluster", "Object", "Batch", "Node", "Attachment", "Gateway", "Home", "Handover", "GatewayChange")
)
FOUND_TIMEOUT_S = 5.0
SOON = Backoff(cap_ms=500)
"""Central hosts are few, and everybody waits for their controllers: they ask often for a new leader."""
BULK_OPERATIONS = 500
"""From so many operations on, a transaction's reply does not wait for the replica to be told what it changed."""
T = TypeVar("T")
SETTLE_TURNS = 8
"""Turns of the event loop in which the pump surely had its own."""


class Store:
    """The declared state. An async context manager; wait for `ready` before the first question."""

    def __init__(self, cluster: Cluster, events: Events, *, remotes: Sequence[str] | None = None) -> None:
        self.cluster = cluster
        self.events = events
        self.client = Client(
            Database.OVENBIRD.value,
            tuple(remotes or cluster.remotes(Database.OVENBIRD)),
            leader_only=True,
            backoff=SOON,
            bulk_operations=BULK_OPERATIONS,
        )
        self.state = DeclaredState()
        self.still = asyncio.Lock()
        self._writer = Writer(self)
        self._replica = Replica(self.client, TABLES)
        self._subscribers: list[Callable[[StateChange], None]] = []
        self._listeners: list[Callable[[Prospect], None]] = []
        self._confirmed_listeners: list[Callable[[Prospect], None]] = []
        self._changing = Changing()
        self._failure: OvenbirdError | None = None
        self._fed_version = 0
        """Version of the replica that the state shows."""
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Store:
        await self.client.__aenter__()
        await self._replica.__aenter__()
        self._tasks = [
            asyncio.create_task(keep_running("store-pump", self._pump, self.events)),
            asyncio.create_task(self._found(), name="store-found"),
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._replica.__aexit__(kind, error, trace)
        await self.client.__aexit__(kind, error, trace)

    # What is declared.

    @property
    def inventory(self) -> Inventory:
        """What is declared. It changes under its readers: do not keep answers across an await."""
        return self.state.inventory

    @property
    def revision(self) -> int:
        """Revision of the declared state."""
        return self.state.revision

    @property
    def epoch(self) -> int | None:
        """Epoch of the acting controller; None while the state is not current."""
        return self.state.epoch if self.synced else None

    @property
    def keeps_estimates(self) -> bool:
        """Whether the database has a place for estimates; one that an older version has made has none."""
        return self._replica.has("GatewayChange", "estimate")

    @property
    def asks_for_silence(self) -> bool:
        """Whether the database has a place to ask old gateways for silence; one of an older version has none."""
        return self._replica.has("Handover", "silence")

    @property
    def takes_batches(self) -> bool:
        """Whether the database has a place for batches; one that an older version has made has none."""
        return self._replica.has("Batch", "objects")

    @property
    def is_readable(self) -> bool:
        """Whether this version can read every stored object."""
        return not self.state.unreadable

    @property
    def synced(self) -> bool:
        """Whether the state is complete and kept current just now."""
        return self._replica.synced and self.state.cluster is not None and self._failure is None

    def nodes(self) -> tuple[NodeRecord, ...]:
        """Return every host's record, by name."""
        return tuple(self.state.nodes[name] for name in sorted(self.state.nodes))

    def attachments(self) -> tuple[AttachmentRecord, ...]:
        """Return every attachment, by port."""
        return tuple(self.state.attachments[port] for port in sorted(self.state.attachments))

    def subscribe(self, subscriber: Callable[[StateChange], None]) -> None:
        """Have a function called with each change, in the order of commits. It must not block."""
        self._subscribers.append(subscriber)

    def on_prospect(self, listener: Callable[[Prospect], None]) -> None:
        """Have a function called when this process has sent a change of objects, not committed yet. No blocking."""
        self._listeners.append(listener)

    def foretell(self, prospect: Prospect) -> None:
        """Tell those listeners."""
        for listener in self._listeners:
            listener(prospect)

    def on_confirmed(self, listener: Callable[[Prospect], None]) -> None:
        """Have a function called when such a change is committed; the state may not show it yet. No blocking."""
        self._confirmed_listeners.append(listener)

    def confirm(self, prospect: Prospect) -> None:
        """Tell those listeners."""
        for listener in self._confirmed_listeners:
            listener(prospect)

    async def ready(self, timeout_s: float) -> None:
        """Wait until the state is complete and current.

        Unavailable says per remote why it is not; Refused `wrong_cluster`, that it is another cluster's.
        """
        with contextlib.suppress(TimeoutError):
            await self.wait_for(lambda: self.synced or self._failure is not None, timeout_s=timeout_s)
        if self._failure is not None:
            raise self._failure
        if not self.synced:
            raise self._unavailable(timeout_s)

    async def wait_for(self, condition: Callable[[], bool], *, timeout_s: float) -> None:
        """Wait until a condition on the state holds, or TimeoutError."""
        await self._changing.wait_for(condition, timeout_s=timeout_s)

    async def catch_up(self, *, timeout_s: float) -> None:
        """Return when the state shows all that was committed before the call. Raises OvsdbError.

        The server sends a client's pending updates before any answer to it, and both are handled here in that order.
        """
        await self.client.echo(timeout_s=timeout_s)
        for _ in range(SETTLE_TURNS):
            if self._fed_version == self._replica.version:
                return
            await asyncio.sleep(0)
        # Rows that changed and came back are no change, and are not reported: the state is as new as can be.

    # Changing it. Every one of these may raise Unavailable or Timeout, and leaves nothing half done.

    async def apply(
        self, documents: Sequence[Document], *, dry_run: bool = False, timeout_s: float = WRITE_TIMEOUT_S
    ) -> ApplyOutcome:
        """Declare objects: all of them or none. UserError carries all problems of all documents."""
        return await self._writer.write(
            lambda: proposals.apply(self.state, self.cluster, documents, dry_run=dry_run, batched=self.takes_batches),
            timeout_s=timeout_s,
            objects=len(documents),
        )

    async def delete(
        self, keys: Iterable[Key], *, dry_run: bool = False, timeout_s: float = WRITE_TIMEOUT_S
    ) -> ApplyOutcome:
        """Take objects out of the declared state: all of them or none. Refused says what is in use, and by what."""
        wanted = tuple(keys)
        return await self._writer.write(
            lambda: proposals.delete(self.state, wanted, dry_run=dry_run, batched=self.takes_batches),
            timeout_s=timeout_s,
            objects=len(wanted),
        )

    async def attach(
        self, port: str, node: str, spec: Mapping[str, Any], *, timeout_s: float = WRITE_TIMEOUT_S
    ) -> AttachmentRecord:
        """Want a port on a node. The same again is success; elsewhere is Refused."""
        return await self._writer.write(
            lambda: proposals.attach(self.state, self.cluster, port, node, spec), timeout_s=timeout_s
        )

    async def detach(self, port: str, *, timeout_s: float = WRITE_TIMEOUT_S) -> None:
        """No longer want a port anywhere. UserError `not_attached` when it is not."""
        await self._writer.write(lambda: proposals.detach(self.state, port), timeout_s=timeout_s)

    async def unpack(self, *, timeout_s: float = WRITE_TIMEOUT_S) -> None:
        """Make rows of the objects of the oldest batch; nothing that is declared changes."""
        await self._writer.write(
            lambda: unpack_first(self.state, None, is_final=True) or Proposal(None, None), timeout_s=timeout_s
        )

    async def write(self, propose: Callable[[], Proposal[T]], *, timeout_s: float = WRITE_TIMEOUT_S) -> T:
        """Commit what `propose` proposes on the newest state: for parts with proposals of their own."""
        return await self._writer.write(propose, timeout_s=timeout_s)

    # Keeping it current.

    async def _pump(self) -> None:
        # From scratch: the first change set is the whole content.
        self.state = DeclaredState(version=self.state.version)
        async for changes in self._replica.changes():
            version = self._replica.version
            unreadable = set(self.state.unreadable)
            async with self.still:
                self._fed_version = version
                change = self.state.feed((row.table, row.old, row.new) for row in changes.rows)
            for key in set(self.state.unreadable) - unreadable:
                self.events.emit(STORE_OBJECT_UNREADABLE, object=str(key), why=self.state.unreadable[key])
            if change.cluster:
                self._check_name()
            for subscriber in self._subscribers:
                subscriber(change)
            self._changing.tell()

    def _check_name(self) -> None:
        record = self.state.cluster
        if record is None or record.name == self.cluster.name:
            self._failure = None
            return
        self._failure = Refused(
            f"the Ovenbird database belongs to cluster {record.name!r}, not to {self.cluster.name!r}",
            code="wrong_cluster",
            subject=self.cluster.name,
            evidence=f"connected to {self.client.remote}",
            hint="correct the name or the addresses of the central hosts in cluster.yaml",
        )
        self.events.emit(STORE_WRONG_CLUSTER, expected=self.cluster.name, found=record.name)

    async def _found(self) -> None:
        """Make the cluster's singleton, once; whoever comes second finds it made."""
        while not (self._replica.synced and self._replica.table("Cluster")):
            txn = Transaction(f"the cluster {self.cluster.name}")
            txn.insert("Cluster", {"name": self.cluster.name}, uuid=CLUSTER_UUID)
            # Refused (somebody was faster), lost or late: look, and try again if it is still not there.
            with contextlib.suppress(OvsdbError):
                await self._replica.ready(timeout_s=FOUND_TIMEOUT_S)
                if not self._replica.table("Cluster"):
                    await self.client.transact(txn, timeout_s=FOUND_TIMEOUT_S)
            with contextlib.suppress(TimeoutError):
                await self.wait_for(lambda: self.state.cluster is not None, timeout_s=LOOK_AGAIN_S)
        self.events.emit(STORE_READY, cluster=self.cluster.name)

    def _unavailable(self, waited_s: float) -> Unavailable:
        state = self.client.state
        return Unavailable(
            f"the Ovenbird database could not be used within {waited_s:.1f} s",
            code="store_unavailable",
            subject=Database.OVENBIRD.value,
            evidence=state.reason or f"{state.remote}: connected, but its content has not arrived",
            hint="a majority of the central hosts must run and reach each other; see `ovenbird status`",
        )
