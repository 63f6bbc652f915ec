"""NB as the controller sees it: a replica of the tables that it writes, indexed by what the diff asks.

The index is always that of whole transactions. It must never write: see `Leadership.commit`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from ovenbird.controller.events import Events
from ovenbird.controller.store import BULK_OPERATIONS, SOON
from ovenbird.controller.waiting import Changing
from ovenbird.controller.watch import Watch
from ovenbird.model.cluster import Cluster, Database
from ovenbird.model.objects import Key
from ovenbird.ovsdb import ChangeSet, Client, DeadlineExceeded, Replica
from ovenbird.plan.election import CONTROL_TABLE, CONTROL_UUID, Control, read_control
from ovenbird.plan.nb_index import NbIndex
from ovenbird.plan.nb_view import WATCHED_COLUMNS

GLOBAL_COLUMNS = ("nb_cfg", "sb_cfg", "hv_cfg", "nb_cfg_timestamp", "sb_cfg_timestamp", "options")
TOLD_TIMEOUT_S = 10.0
SETTLE_TURNS = 8
"""Turns of the event loop in which the pump surely had its own."""


@dataclass(frozen=True, slots=True)
class NbChange:
    """What one change set of NB means to us."""

    owners: frozenset[Key]
    """Objects whose rows were touched."""
    control: Control | None
    """Our control row, if it changed."""
    is_one: bool
    """Whether this is one transaction; else several, or what differed after a reconnect."""


class NbWatch(Watch[[NbChange]]):
    """A hot copy of NB. An async context manager."""

    def __init__(self, cluster: Cluster, events: Events, *, remotes: Sequence[str] | None = None) -> None:
        self.client = Client(
            Database.NB.value,
            tuple(remotes or cluster.remotes(Database.NB)),
            leader_only=True,
            backoff=SOON,
            bulk_operations=BULK_OPERATIONS,
        )
        replica = Replica(
            self.client,
            {**WATCHED_COLUMNS, CONTROL_TABLE: ("name", "external_ids"), "NB_Global": GLOBAL_COLUMNS},
            where={CONTROL_TABLE: (("_uuid", "==", CONTROL_UUID),)},
        )
        super().__init__("nb-pump", replica, events, owned=self.client)
        self.index = NbIndex()
        self.version = 0
        """Version of the replica that the index shows."""
        self._loaded = False
        self._control: Control | None = None
        self.changing = Changing()

    @property
    def synced(self) -> bool:
        """Whether the index holds NB's content and is kept current just now."""
        return self._loaded and self.replica.synced

    @property
    def control(self) -> Control | None:
        """Our control row; None while NB is unknown."""
        return self._control if self.synced else None

    @property
    def last_control(self) -> Control:
        """Our control row as last seen, current or not."""
        return self._control or Control()

    async def settle(self, confirmed: Control) -> None:
        """Return when the index holds the commit that left our control row so: else it would be planned again.

        A great commit is confirmed before NB tells what it changed. Raises DeadlineExceeded when that does not come.
        """
        try:
            await self.changing.wait_for(lambda: self._shows(confirmed), timeout_s=TOLD_TIMEOUT_S)
        except TimeoutError:
            raise DeadlineExceeded(f"NB does not show commit {confirmed.beat} of epoch {confirmed.epoch}") from None
        for _ in range(SETTLE_TURNS):
            if self.version == self.replica.version:
                return
            await asyncio.sleep(0)
        # Rows that changed and came back are no change, and are not reported: the index is as new as can be.

    def _shows(self, confirmed: Control) -> bool:
        control = self.control
        return control is None or (control.epoch, control.beat) >= (confirmed.epoch, confirmed.beat)

    async def _pump(self) -> None:
        # From scratch: the first change set is the whole content.
        self.index, self._loaded = NbIndex(), False
        async for changes in self.replica.changes():
            self._tell(self._take(changes))
            self.changing.tell()

    def _take(self, changes: ChangeSet) -> NbChange:
        touched: set[Key] = set()
        control: Control | None = None
        for row in changes.rows:
            if row.table == CONTROL_TABLE:
                control = read_control(row.new["external_ids"] if row.new is not None else None)
            else:
                touched |= self.index.apply(row.table, row.uuid, row.new)
        if control is not None or self._control is None:
            self._control = control or Control()
        self._loaded = True
        merged = self.replica.version - self.version > 1
        self.version = self.replica.version
        return NbChange(frozenset(touched), control, is_one=not (merged or changes.initial or changes.resync))
