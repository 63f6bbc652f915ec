"""Planning ahead: while the Ovenbird database commits a large change, the acting controller plans what NB then needs.

The server's work and ours overlap; when the commit is confirmed, the plan is there, encoded, and may be carried out
even before the change itself has come back: it was committed on exactly the state that the plan was made from. It
counts only if everything that it was made from is then so: the declared objects, NB's rows, the placement. Else it is
thrown away, and the reconciler plans as ever. It must never send anything, nor decide that something is committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from ovenbird.controller.state import Prospect
from ovenbird.controller.steps import add_steps
from ovenbird.controller.worklist import foreseen_owners
from ovenbird.model.objects import Declared, Key
from ovenbird.ovsdb import Prepared, SchemaError, Transaction
from ovenbird.ovsdb.schema import Schema
from ovenbird.plan.compile import CompileContext, compile_object
from ovenbird.plan.diff import diff
from ovenbird.plan.inventory import Inventory
from ovenbird.plan.nb_index import NbIndex
from ovenbird.plan.rows import Plan

LEAST_OBJECTS = 200
"""A smaller change is planned within milliseconds when its turn comes."""
HOLD_NEWS_S = 1.0
"""Longest time for which we leave unread what a committed change wrote: NB waits for the plan, not for our reading."""


@dataclass(frozen=True, slots=True)
class Foreseen:
    """A plan, and its steps as operations."""

    owners: frozenset[Key]
    plan: Plan
    steps: Prepared


@dataclass(frozen=True, slots=True)
class _Premise:
    """What a plan was made from, by version."""

    objects: Mapping[Key, Declared | None]
    inventory_version: int
    """Once the objects have changed, and nothing else has."""
    index: NbIndex
    index_version: int
    context: CompileContext

    def is_declared(self, inventory: Inventory) -> bool:
        """Whether the objects have changed, and nothing else has."""
        return inventory.version == self.inventory_version and all(
            inventory.get(key) is declared for key, declared in self.objects.items()
        )

    def is_untouched(self, inventory: Inventory) -> bool:
        """Whether nothing has changed yet."""
        return inventory.version == self.inventory_version - len(self.objects)

    def fits(self, index: NbIndex, context: CompileContext) -> bool:
        """Whether NB and the placement are as they were."""
        return index is self.index and index.version == self.index_version and context == self.context

    def holds(self, inventory: Inventory, index: NbIndex, context: CompileContext) -> bool:
        return self.fits(index, context) and self.is_declared(inventory)


@dataclass(frozen=True, slots=True)
class Ahead:
    """A plan that was carried out before the declared state showed the change that it was made for."""

    revision: int
    foreseen: Foreseen
    premise: _Premise

    def covers(self, owners: frozenset[Key], inventory: Inventory, context: CompileContext) -> bool:
        """Whether these owners, as they are declared by now, need nothing else."""
        return (
            owners == self.foreseen.owners and context == self.premise.context and self.premise.is_declared(inventory)
        )


class Foresight:
    """The one plan that was made ahead, if there is one."""

    def __init__(self) -> None:
        self._premise: _Premise | None = None
        self._task: asyncio.Future[Foreseen | None] | None = None
        self._revision: int | None = None

    def forget(self) -> None:
        """Throw the plan away; a thread that still works on it ends by itself."""
        self._premise = self._task = self._revision = None

    def look_ahead(
        self, prospect: Prospect, inventory: Inventory, index: NbIndex, context: CompileContext, schema: Schema
    ) -> None:
        """Begin to plan in a thread for what would be declared."""
        self.forget()
        if len(prospect.objects) < LEAST_OBJECTS:
            return
        version = inventory.version + len(prospect.objects)
        self._premise = _Premise(prospect.objects, version, index, index.version, context)
        loop = asyncio.get_running_loop()
        self._task = loop.run_in_executor(None, _foresee, prospect, inventory, index, context, schema)

    def confirm(self, prospect: Prospect) -> bool:
        """Take note that the change is committed; return whether there is, or soon will be, a plan for it."""
        if self._premise is None or self._premise.objects is not prospect.objects:
            return False
        self._revision = prospect.revision
        return True

    async def confirmed(self) -> bool:
        """Whether there is a plan for a change that is committed; returns when the plan is finished."""
        if self._revision is None or self._task is None:
            return False
        return await self._task is not None

    def go_ahead(self, inventory: Inventory, index: NbIndex, context: CompileContext) -> Ahead | None:
        """Return that plan while the declared state does not show its change, if it is right; it is used once."""
        premise, task, revision = self._premise, self._task, self._revision
        if premise is None or task is None or revision is None or not task.done():
            return None
        foreseen = task.result()
        if foreseen is None or not premise.fits(index, context) or not premise.is_untouched(inventory):
            return None
        self.forget()
        return Ahead(revision, foreseen, premise)

    async def recall(
        self, owners: frozenset[Key], inventory: Inventory, index: NbIndex, context: CompileContext
    ) -> Foreseen | None:
        """Return the plan for these owners, if one was made and is right; it is used once."""
        premise, task = self._premise, self._task
        self.forget()
        if premise is None or task is None or not premise.holds(inventory, index, context):
            return None
        foreseen = await task
        if foreseen is None or foreseen.owners != owners or not premise.holds(inventory, index, context):
            return None
        return foreseen


def _foresee(
    prospect: Prospect, inventory: Inventory, index: NbIndex, context: CompileContext, schema: Schema
) -> Foreseen | None:
    """Plan; None when what is read here was changed meanwhile by the event loop, or does not fit the schema."""
    try:
        owners = foreseen_owners(prospect, inventory)
        plan = diff(owners, {key: compile_object(key, prospect.view, context) for key in owners}, index)
        txn = Transaction()
        add_steps(txn, plan.steps)
        return Foreseen(owners, plan, txn.prepare(schema))
    except (RuntimeError, KeyError, SchemaError):
        return None
