"""What an accepted apply or delete changes, object by object: shown to people by `plan`, stored by the API.

It must never decide anything: see `ovenbird.plan.admission`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ovenbird.model.errors import Problem
from ovenbird.model.objects import Declared, Key
from ovenbird.plan.inventory import InventoryView

Action = Literal["create", "update", "unchanged", "delete"]
Fields = Mapping[str, tuple[Any, Any]]
"""Field ("cidr", "external.address", "assigned.mac") -> its value before and after; None where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What happens to one object."""

    action: Action
    key: Key
    old: Declared | None = None
    new: Declared | None = None

    @property
    def fields(self) -> Fields:
        """What differs, field by field; nothing for an object that goes. Worked out when it is asked for."""
        if self.action in ("unchanged", "delete"):
            return {}
        before, after = _flat(self.old), _flat(self.new)
        names = (*after, *(name for name in before if name not in after))
        return {name: (before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)}

    def to_json(self) -> dict[str, Any]:
        """Return the change as the API shows it."""
        fields = {name: list(values) for name, values in self.fields.items()}
        return {"kind": self.key.kind, "name": self.key.name, "action": self.action, "fields": fields}


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Everything that one accepted call changes."""

    changes: tuple[Change, ...] = ()
    """In the order of the documents; unchanged objects are listed too."""
    warnings: tuple[Problem, ...] = ()
    """Accepted, but probably not what was meant."""
    view: InventoryView | None = field(default=None, compare=False, repr=False)
    """The declared state as it would be; None when nobody worked it out."""

    @property
    def effective(self) -> tuple[Change, ...]:
        """The changes without those that change nothing."""
        return tuple(change for change in self.changes if change.action != "unchanged")

    def __bool__(self) -> bool:
        return any(change.action != "unchanged" for change in self.changes)


def change_of(key: Key, old: Declared | None, new: Declared | None) -> Change:
    """Return the change that leads from one state of an object to another."""
    action: Action
    if old is None or new is None:
        action = "unchanged" if old is new else "create" if old is None else "delete"
    else:
        action = "unchanged" if (old.spec, old.assigned) == (new.spec, new.assigned) else "update"
    return Change(action=action, key=key, old=old, new=new)


def _flat(declared: Declared | None) -> dict[str, Any]:
    """Return an object's fields that are not at their default, nested ones with dotted names."""
    if declared is None:
        return {}
    found: dict[str, Any] = {}
    for name, value in declared.spec.model_dump(mode="json", exclude_defaults=True).items():
        if isinstance(value, dict):
            found |= {f"{name}.{inner}": each for inner, each in value.items()}
        else:
            found[name] = value
    if declared.assigned.address:
        found["assigned.address"] = declared.assigned.address
    if declared.assigned.mac:
        found["assigned.mac"] = declared.assigned.mac
    if declared.assigned.others:
        found["assigned.others"] = list(declared.assigned.others)
    return found
