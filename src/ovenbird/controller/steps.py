"""From the plan's steps to the operations of an OVSDB transaction, and from a failed operation back to its step.

It must never reorder steps, nor add to them.
"""

from __future__ import annotations

from collections.abc import Iterable

from ovenbird.ovsdb import Transaction
from ovenbird.plan.rows import Delete, Insert, Mutate, Step, Update


def add_step(txn: Transaction, step: Step) -> int:
    """Add a step's operations; return how many there are."""
    match step:
        case Insert(table=table, uuid=uuid, columns=columns):
            txn.insert(table, columns, uuid=uuid)
        case Update(table=table, uuid=uuid, columns=columns):
            txn.update(table, columns, uuid=uuid)
        case Delete(table=table, uuid=uuid):
            txn.delete(table, uuid=uuid)
        case Mutate(table=table, uuid=uuid, column=column):
            # Removal first, so that a column with a maximum size never holds both old and new.
            if step.delete:
                txn.mutate(table, column, "delete", step.delete, uuid=uuid)
            if step.insert:
                txn.mutate(table, column, "insert", step.insert, uuid=uuid)
            return bool(step.delete) + bool(step.insert)
    return 1


def add_steps(txn: Transaction, steps: Iterable[Step]) -> list[int]:
    """Add steps in order; return for each operation added which step it belongs to."""
    owners: list[int] = []
    for position, step in enumerate(steps):
        owners.extend([position] * add_step(txn, step))
    return owners
