"""Comparing all of NB with all that is declared, slice by slice, so that others get a turn between two slices.

It must never write, nor hold the event loop for longer than one slice takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from typing import Any

from ovenbird.model.objects import Key
from ovenbird.plan.rows import Conflict, Plan, Step

SLICE = 100
"""Objects that are compared between two turns of the event loop."""
SHOWN = 20
"""At most so many steps of a repair are written into its event."""

Planner = Callable[[Collection[Key]], Plan]
"""Returns what would make NB as some objects want it."""


async def whole_plan(keys: Iterable[Key], planner: Planner) -> Plan:
    """Return what would make NB as all these want it."""
    steps: list[Step] = []
    conflicts: list[Conflict] = []
    async for _part, plan in _slices(keys, planner):
        steps += plan.steps
        conflicts += plan.conflicts
    return Plan(tuple(steps), tuple(conflicts))


async def differing(keys: Iterable[Key], planner: Planner) -> set[Key]:
    """Return those among which some have rows in NB that are not as they should be."""
    found: set[Key] = set()
    async for part, plan in _slices(keys, planner):
        if plan.steps:
            found.update(part)
        found.update(conflict.owner for conflict in plan.conflicts)
    return found


async def _slices(keys: Iterable[Key], planner: Planner) -> AsyncIterator[tuple[Sequence[Key], Plan]]:
    ordered = sorted(keys)
    for start in range(0, len(ordered), SLICE):
        part = ordered[start : start + SLICE]
        yield part, planner(part)
        await asyncio.sleep(0)


def drift(repairs: Plan, repaired: Sequence[Key]) -> dict[str, Any]:
    """Return what is told of a repair."""
    return {
        "objects": [str(key) for key in repaired[:SHOWN]],
        "steps": [f"{type(step).__name__} {step.table} {step.uuid}: {step.reason}" for step in repairs.steps[:SHOWN]],
        "count": len(repairs.steps),
    }
