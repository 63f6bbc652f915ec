"""What a fault on a lab is: it can be injected, proven to bite, healed, and heals itself at its time limit.

A fault that stays is in the lab's state file before it is injected, so that any later command, or the lab's keeper,
can heal it. A fault that was injected and did not bite is an error: a drill that believes in it would measure nothing.
This module must never signal anything but a process found by pid, start time and pid file of a node of the lab.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from ovenbird.lab.faults import keeper
from ovenbird.lab.lab import Lab
from ovenbird.model.errors import OvenbirdError, Refused

VERIFY_TIMEOUT_S = 5.0


class DidNotBite(OvenbirdError):
    """A fault was injected and has no effect; whatever is measured now is invalid."""

    default_code = "fault_did_not_bite"


@dataclass(kw_only=True)
class Fault(ABC):
    """One fault on a lab."""

    kind: ClassVar[str]
    kept: ClassVar[bool] = False
    """Whether the lab's keeper has something to do while the fault lasts (`keep`)."""
    looked_at_after_s: ClassVar[float] = 0.0
    """How long a drill waits before it looks whether the fault bites, if looking takes from those who react to it."""
    stored: ClassVar[tuple[str, ...]] = ()
    """Fields that the state file must keep to heal the fault later; values are those of JSON, or tuples of them."""

    lab: Lab
    number: int = 0
    """Given by the state file when it is injected; 0 before."""
    limit_s: float | None = None
    """After this time the fault heals itself, whatever has become of who injected it; None: it stays until healed."""
    injected_ns: int | None = field(default=None, init=False)
    """Unix time just before it was made to happen."""

    @abstractmethod
    def describe(self) -> str:
        """Return one line for people."""

    @abstractmethod
    def available(self) -> str | None:
        """Return why the fault cannot be injected now, or None if it can; raises `UserError` for nonsense."""

    @abstractmethod
    def act(self) -> None:
        """Make it happen; called with the lab held and the fault recorded."""

    @abstractmethod
    def bites(self) -> bool:
        """Look once whether the fault has its effect."""

    @abstractmethod
    def undo(self) -> None:
        """Take it back, however much of it was done; called with the lab held and the fault still on record."""

    def is_back(self) -> bool:
        """Look once whether what the fault ended runs again, as far as that can be told of the host alone."""
        return True

    def keep(self, over: threading.Event) -> None:
        """Do what the fault does while it lasts, until `over`; runs in a thread of the lab's keeper."""
        over.wait()

    def concerns(self, node: str) -> bool:
        """Whether the fault is on this node."""
        return node == getattr(self, "node", None) or node in getattr(self, "nodes", ())

    def parameters(self) -> dict[str, Any]:
        """Return what the state file keeps."""
        return {name: getattr(self, name) for name in self.stored}

    @classmethod
    def restored(cls, lab: Lab, record: Mapping[str, Any]) -> Self:
        """Return the fault that a record of the state file describes."""
        names = [name for name in cls.stored if name in record and name in cls.__dataclass_fields__]
        values: dict[str, Any] = {name: _tuples(record[name]) for name in names}
        made = cls(lab=lab, **values)
        made.number = record["id"]
        made.limit_s = record.get("limit_s")
        return made

    @property
    def stays(self) -> bool:
        """Whether there is something to heal."""
        return True

    @property
    def is_active(self) -> bool:
        """Whether the fault is on record."""
        state = self.lab.file.read()
        return state is not None and any(item["id"] == self.number for item in state.faults)

    @property
    def directory(self) -> Path:
        """Where the fault may put files while it lasts; removed when it is healed."""
        return self.lab.file.directory / "faults" / str(self.number)

    def inject(self) -> None:
        """Inject the fault; raises `Refused` if it is not available."""
        inject([self])

    def verify_injected(self, *, timeout_s: float = VERIFY_TIMEOUT_S) -> None:
        """Prove by its effect that the fault bites; raises `DidNotBite`."""
        deadline = time.monotonic() + timeout_s
        while not self.bites():
            if time.monotonic() > deadline:
                raise DidNotBite(f"{self.describe()}: no effect within {timeout_s:g} s", subject=self.lab.name)
            time.sleep(0.02)

    def heal(self) -> None:
        """Take the fault back; healing what is healed changes nothing."""
        with self.lab.file.locked():
            if self.number and not self.is_active:
                return
            self.undo()
            with self.lab.file.change() as state:
                state.faults = [item for item in state.faults if item["id"] != self.number]
            if self.number:
                shutil.rmtree(self.directory, ignore_errors=True)
                with contextlib.suppress(OSError):
                    self.directory.parent.rmdir()

    def record(self) -> None:
        """Put the fault on record; called with the lab held."""
        with self.lab.file.change() as state:
            state.last_fault += 1
            self.number = state.last_fault
            limit = (
                {} if self.limit_s is None else {"limit_s": self.limit_s, "heal_at_s": keeper.now_s() + self.limit_s}
            )
            kept = {"kept": True} if self.kept else {}
            state.faults.append({"kind": self.kind, "id": self.number, **limit, **kept, **self.parameters()})


def _tuples(value: Any) -> Any:
    """JSON has lists where a fault has tuples."""
    return tuple(value) if isinstance(value, list) else value


def inject(faults: Sequence[Fault]) -> None:
    """Inject faults on one lab as nearly at once as can be: all, or none. Raises `Refused` if one is not available."""
    if not faults:
        return
    lab = faults[0].lab
    with lab.file.locked():
        for fault in faults:
            reason = fault.available()
            if reason is not None:
                raise Refused(f"{fault.describe()}: {reason}", code="fault_unavailable", subject=lab.name)
        staying = [fault for fault in faults if fault.stays]
        # Started before anything is broken: its start must not fall into what is measured.
        if any(fault.kept or fault.limit_s is not None for fault in staying):
            keeper.ensure(lab.file)
        try:
            for fault in staying:
                fault.record()
            for fault in faults:
                fault.injected_ns = time.time_ns()
                fault.act()
        except BaseException:
            for fault in reversed(staying):
                with contextlib.suppress(OvenbirdError):  # it stays on record, for the next one who heals
                    fault.heal() if fault.number else None
            raise
