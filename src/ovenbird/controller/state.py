"""The declared state as this process knows it: an inventory and records, kept by deltas of the replica.

It must never write, nor wait: the pump of the store feeds it one change set at a time, whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ovenbird.controller.batches import Batch, Batches, Stored, batch_id, read_stored
from ovenbird.controller.records import (
    AttachmentRecord,
    ClusterRecord,
    GatewayChangeRecord,
    HandoverRecord,
    HomeRecord,
    NodeRecord,
    UnreadableRow,
    read_attachment,
    read_cluster,
    read_gateway_change,
    read_handover,
    read_home,
    read_node,
)
from ovenbird.model.objects import Declared, Key
from ovenbird.plan.inventory import Inventory, InventoryView

RowChange = tuple[str, Mapping[str, Any] | None, Mapping[str, Any] | None]
"""Table, old row, new row."""


@dataclass(slots=True)
class StateChange:
    """What one change set changed."""

    objects: dict[Key, Declared | None] = field(default_factory=dict)
    """Changed objects as they were before; None: not there."""
    nodes: set[str] = field(default_factory=set)
    """Hosts whose record changed in more than its heartbeat."""
    attachments: set[str] = field(default_factory=set)
    cluster: bool = False
    gateways: bool = False
    """Whether operators want anything else of gateways."""

    def __bool__(self) -> bool:
        return bool(self.objects or self.nodes or self.attachments or self.cluster or self.gateways)


@dataclass(frozen=True, slots=True)
class Prospect:
    """What will be declared if a write that is under way is committed."""

    objects: Mapping[Key, Declared | None]
    """Objects that it changes, as they would be; None: gone."""
    view: InventoryView
    """Everything as it would be. Of no use once the inventory has changed in another way."""
    revision: int = 0
    """Revision of the declared state that would be it."""


class DeclaredState:
    """Inventory, nodes, attachments and the cluster's singleton."""

    def __init__(self, version: int = 0) -> None:
        self.inventory = Inventory()
        self.version = version
        """Grows with every change set."""
        self.cluster: ClusterRecord | None = None
        self.nodes: dict[str, NodeRecord] = {}
        self.attachments: dict[str, AttachmentRecord] = {}
        self.drained: set[str] = set()
        """Gateways that operators want nothing carried by."""
        self.homes: dict[str, HomeRecord] = {}
        """By router: homes that operators asked for."""
        self.handovers: dict[tuple[str, int], HandoverRecord] = {}
        """By gateway and request: what its agent says of going on with what it loses until that is taken over."""
        self.gateway_changes: dict[tuple[int, str], GatewayChangeRecord] = {}
        """By time and router: the latest changes of active gateways."""
        self.unreadable: dict[Key, str] = {}
        """Stored objects that this version cannot read, and why."""
        self.batches = Batches()
        """Great changes whose objects have no rows of their own yet; they are declared all the same."""
        self._expected: dict[Key, tuple[Declared, Mapping[str, Any]]] = {}

    @property
    def revision(self) -> int:
        """Revision of the declared state; 0 before anything was declared."""
        return self.cluster.revision if self.cluster else 0

    @property
    def epoch(self) -> int | None:
        """Epoch of the acting controller; None while unknown."""
        return self.cluster.epoch if self.cluster else None

    def expect(self, writing: Mapping[Key, tuple[Declared, Mapping[str, Any]]], batches: Iterable[Batch] = ()) -> None:
        """Say what is being written, as object and as row, so that it need not be parsed when it comes back."""
        self._expected = dict(writing)
        self.batches.expect(batches)

    def feed(self, changes: Iterable[RowChange]) -> StateChange:
        """Take in the row changes of one transaction (or of the first content); return what they changed."""
        change = StateChange()
        self.version += 1
        batches = list[tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]]()
        for table, old, new in changes:
            match table:
                case "Object":
                    self._feed_object(old, new, change)
                case "Batch":
                    batches.append((old, new))
                case "Node":
                    self._feed_node(old, new, change)
                case "Attachment":
                    self._feed_attachment(old, new, change)
                case "Gateway" | "Home" | "Handover" | "GatewayChange":
                    self._feed_gateways(table, old, new, change)
                case "Cluster":
                    self.cluster = read_cluster(new) if new is not None else None
                    change.cluster = True
        self._feed_batches(batches, change)
        return change

    def _feed_object(self, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None, change: StateChange) -> None:
        if new is None or (old is not None and _key(old) != _key(new)):
            self._take(_key(old), None, change)
        if new is not None:
            self._take(_key(new), new, change)

    def _take(self, key: Key, row: Mapping[str, Any] | None, change: StateChange) -> None:
        """Take in what an object's row says; a batch that is laid over it counts more."""
        if key in self.batches:
            self.batches.note_row(key, row)
        else:
            self._show(key, self._read(key, row) if row is not None else None, change)

    def _feed_batches(
        self, rows: Iterable[tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]], change: StateChange
    ) -> None:
        """Take batches away, then lay new ones over the rows: after all of these, whose order says nothing."""
        rows = list(rows)
        for old, _ in rows:
            if old is None:
                continue
            self.unreadable.pop(_batch_key(old), None)
            for key, said, stored in self.batches.lift(batch_id(old)):
                if stored is not said:
                    self._show(key, stored, change)
        for _, new in rows:
            if new is None:
                continue
            try:
                batch = self.batches.read(new)
            except UnreadableRow as error:
                self.unreadable[_batch_key(new)] = str(error)
                continue
            self.batches.lay(batch, [self._stored(entry.key) for entry in batch.entries])
            for entry in batch.entries:
                self._show(entry.key, entry.stored, change)

    def _stored(self, key: Key) -> Stored:
        why = self.unreadable.get(key)
        return self.inventory.get(key) if why is None else UnreadableRow(why)

    def _show(self, key: Key, stored: Stored, change: StateChange) -> None:
        """Have it said of an object."""
        if isinstance(stored, UnreadableRow):
            # It stays as it was last understood; nobody acts until it can be read (`Leadership`).
            self.unreadable[key] = str(stored)
        else:
            self._put(key, stored, change)

    def _put(self, key: Key, declared: Declared | None, change: StateChange) -> None:
        change.objects.setdefault(key, self.inventory.get(key))
        if self.unreadable:
            self.unreadable.pop(key, None)
        if declared is None:
            self.inventory.remove(key)
        else:
            self.inventory.put(declared)

    def _read(self, key: Key, row: Mapping[str, Any]) -> Stored:
        if (expected := self._expected.pop(key, None)) is not None:
            declared, written = expected
            if row["revision"] == written["revision"] and (row["spec"], row["assigned"]) == (
                written["spec"],
                written["assigned"],
            ):
                return declared  # its kind and name are the key
        return read_stored(row)

    def _feed_node(self, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None, change: StateChange) -> None:
        if old is not None:
            self.nodes.pop(old["name"], None)
        if new is not None:
            self.nodes[new["name"]] = read_node(new)
        for row in (old, new):
            if row is not None and (old is None or new is None or _substance(old) != _substance(new)):
                change.nodes.add(row["name"])

    def _feed_gateways(
        self, table: str, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None, change: StateChange
    ) -> None:
        change.gateways = change.gateways or table in ("Gateway", "Home")
        for row, is_there in ((old, False), (new, True)):
            if row is None:
                continue
            match table:
                case "Gateway":
                    (self.drained.add if is_there and row["drained"] else self.drained.discard)(row["name"])
                case "Home":
                    self.homes.pop(row["router"], None)
                    if is_there:
                        self.homes[row["router"]] = read_home(row)
                case "Handover":
                    self.handovers.pop((row["gateway"], row["request"]), None)
                    if is_there:
                        self.handovers[row["gateway"], row["request"]] = read_handover(row)
                case _:
                    self.gateway_changes.pop((row["at_ms"], row["router"]), None)
                    if is_there:
                        self.gateway_changes[row["at_ms"], row["router"]] = read_gateway_change(row)

    def _feed_attachment(
        self, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None, change: StateChange
    ) -> None:
        if old is not None:
            self.attachments.pop(old["port"], None)
            change.attachments.add(old["port"])
        if new is not None:
            self.attachments[new["port"]] = read_attachment(new)
            change.attachments.add(new["port"])


def _key(row: Mapping[str, Any] | None) -> Key:
    assert row is not None
    return Key(row["kind"], row["name"])


def _batch_key(row: Mapping[str, Any]) -> Key:
    return Key("Batch", f"{row['revision']}/{row['part']}")


def _substance(row: Mapping[str, Any]) -> dict[str, Any]:
    return {column: value for column, value in row.items() if column != "heartbeat_s"}
