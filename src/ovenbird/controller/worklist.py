"""What has changed since the last turn of the reconciler: bookkeeping only, no judgement and no waiting."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ovenbird.controller.state import Prospect
from ovenbird.model.objects import KINDS, Declared, Key, Network
from ovenbird.plan.dirty import dirty
from ovenbird.plan.inventory import Draft, Inventory

_ORDER = {kind: at for at, kind in enumerate(KINDS)}
_PLACED_KINDS = frozenset({"Router", "ExternalNetwork"})


@dataclass(frozen=True, slots=True)
class Batch:
    """The objects to look at in one turn."""

    declared: frozenset[Key]
    """Because of what people or hosts changed."""
    suspects: frozenset[Key]
    """Only because their rows in NB were touched, or the audit found them different."""

    @property
    def owners(self) -> frozenset[Key]:
        """All of them."""
        return self.declared | self.suspects

    def without(self, owners: Collection[Key]) -> Batch:
        """Return it without some objects."""
        return Batch(self.declared.difference(owners), self.suspects.difference(owners)) if owners else self


def _is_carried(declared: Declared | None) -> bool:
    """Whether it is a Network that a physical network carries: its router's gateways must have an uplink there."""
    return declared is not None and isinstance(declared.spec, Network) and declared.spec.physnet is not None


class Worklist:
    """Changed objects as they were before, and objects to look at for other reasons."""

    def __init__(self) -> None:
        self._before: dict[Key, Declared | None] = {}
        self._again: set[Key] = set()
        self._suspects: set[Key] = set()

    def __bool__(self) -> bool:
        return bool(self._before or self._again or self._suspects)

    @property
    def doubts(self) -> bool:
        """Whether NB may not be as we left it."""
        return bool(self._suspects)

    def clear(self) -> None:
        """Forget everything: a full comparison follows."""
        self._before.clear()
        self._again.clear()
        self._suspects.clear()

    def change(self, objects: dict[Key, Declared | None]) -> None:
        """Take note of changed objects, as they were; the oldest word counts."""
        for key, old in objects.items():
            self._before.setdefault(key, old)

    def again(self, owners: Iterable[Key]) -> None:
        """Look at these because something that their rows follow from has changed, or was not done."""
        self._again.update(owners)

    def suspect(self, owners: Iterable[Key]) -> None:
        """Look at these because NB may not be as we left it."""
        self._suspects.update(owners)

    def may_move_routers(self, inventory: Inventory) -> bool:
        """Whether what was declared anew may change the placement of routers."""
        return any(
            key.kind in _PLACED_KINDS or _is_carried(old) or _is_carried(inventory.get(key))
            for key, old in self._before.items()
        )

    def take(self, inventory: Inventory) -> Batch:
        """Return what to look at, with everything that depends on it, and start anew."""
        declared = frozenset(self._again) | self._dirty(inventory)
        batch = Batch(declared, frozenset(self._suspects) - declared)
        self.clear()
        return batch

    def _dirty(self, inventory: Inventory) -> frozenset[Key]:
        if _is_most(len(self._before), len(inventory)):
            return frozenset(self._before) | frozenset(declared.key for declared in inventory)
        old = Draft(inventory)
        for key, declared in self._before.items():
            if declared is None:
                old.remove(key)
            else:
                old.put(declared)
        return dirty(self._before, old, inventory)


def foreseen_owners(prospect: Prospect, present: Inventory) -> frozenset[Key]:
    """Return what a worklist will say when nothing but this has changed."""
    gone = frozenset(key for key, declared in prospect.objects.items() if declared is None)
    come = sum(present.get(key) is None for key in prospect.objects)
    if _is_most(len(prospect.objects), len(present) + come - len(gone)):
        return frozenset(prospect.objects) | frozenset(declared.key for declared in present)
    return dirty(prospect.objects, present, prospect.view)


def _is_most(changed: int, declared: int) -> bool:
    """Whether working out what depends on the changed objects would cost more than looking at everything."""
    return 2 * changed >= declared


def halves(owners: Collection[Key]) -> tuple[list[Key], ...]:
    """Return two halves, what others hang under first; one alone stays one."""
    ordered = sorted(owners, key=lambda key: (_ORDER.get(key.kind, len(_ORDER)), key))
    middle = len(ordered) // 2
    return tuple(half for half in (ordered[:middle], ordered[middle:]) if half)
