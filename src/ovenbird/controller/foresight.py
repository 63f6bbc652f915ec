"""Planning ahead: while the Ovenbird database commits a large change, the acting controller plans what NB then needs.

The server's work and ours overlap; when the commit is seen, the plan is there, encoded. It counts only if everything
that it was made from is then so: the declared objects, NB's rows, the placement. Else it is thrown away, and the
reconciler plans as ever. It must never send anything, nor decide that something is committed.
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

    def holds(self, inventory: Inventory, index: NbIndex, context: CompileContext) -> bool:
        return (
            (inventory.version, index.version) == (self.inventory_version, self.index_version)
            and index is self.index
            and context == self.context
            and all(inventory.get(key) is declared for key, declared in self.objects.items())
        )


class Foresight:
    """The one plan that was made ahead, if there is one."""

    def __init__(self) -> None:
        self._premise: _Premise | None = None
        self._task: asyncio.Future[Foreseen | None] | None = None

    def forget(self) -> None:
        """Throw the plan away; a thread that still works on it ends by itself."""
        self._premise = self._task = None

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
