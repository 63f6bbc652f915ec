"""Faults as drills name them: a kind, targets and parameters become one fault that is injected, proven and healed.

The mechanisms belong to the lab (`ovenbird.lab.faults`), because any later command must be able to heal what a drill
broke. This module must never inject anything without a time limit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from signal import Signals
from typing import Any, Protocol

from ovenbird.lab.faults import KINDS, Kill
from ovenbird.lab.faults import fault as lab_fault
from ovenbird.lab.faults.fault import VERIFY_TIMEOUT_S
from ovenbird.lab.lab import Lab
from ovenbird.model.errors import OvenbirdError, UserError

LIMIT_S = 180.0
"""Every fault of a drill heals itself after this time, unless the drill says otherwise."""

UNAVAILABLE: Mapping[str, str] = {
    "reorder": "needs netem (sch_netem), which many small kernels lack; loss, rate and delay do without it",
    "duplicate": "needs netem (sch_netem), which many small kernels lack",
    "corrupt": "needs netem (sch_netem), which many small kernels lack",
    "bfd-only": "BFD runs inside of tunnels, unseen by the lab's switch; plane=data cuts both",
    "kernel-datapath": "labs run Open vSwitch's userspace datapath, so there is no kernel datapath to break",
    "slow-fsync": "needs dm-delay, or a shim preloaded into ovsdb-server, which would not be the stock one any more",
    "unsynced-lost": "needs a file system that forgets what was not synced; a power cut here leaves the kernel on",
    "read-error": "needs dm-error or dm-flakey",
}
"""Faults that no drill can inject, and why. What one lab cannot take, its fault's `available` says."""

_OF_A_GROUP = ("partition", "loss", "rate")
"""Kinds that take all their targets as one side."""


class Fault(Protocol):
    """What a drill's runner needs of a fault."""

    limit_s: float | None

    @property
    def injected_ns(self) -> int | None:
        """Unix time just before it was made to happen; None before."""

    @property
    def stays(self) -> bool:
        """Whether there is something to heal; a killed daemon, for example, is its agent's to start again."""

    @property
    def is_active(self) -> bool:
        """Whether it is on the lab's record: injected, staying, and neither healed nor over."""

    def describe(self) -> str:
        """Return one line for people."""

    def available(self) -> str | None:
        """Return why it cannot be injected now, or None; raises `UserError` for nonsense."""

    def inject(self) -> None:
        """Make it happen; raises `Refused` if it is not available."""

    def verify_injected(self, *, timeout_s: float = VERIFY_TIMEOUT_S) -> None:
        """Prove by its effect that it bites; raises `DidNotBite`."""

    @property
    def looked_at_after_s(self) -> float:
        """How long to wait before `verify_injected`, lest looking take from those who react."""

    def is_back(self) -> bool:
        """Look once whether what it ended runs again, as far as that can be told of the host alone."""

    def heal(self) -> None:
        """Take it back; healing what is healed changes nothing."""


@dataclass
class Composite:
    """Several faults at once, or none at all: injected back to back, all or none; healed newest first."""

    faults: Sequence[lab_fault.Fault]
    limit_s: float | None = None
    injected_ns: int | None = field(default=None, init=False)

    @classmethod
    def of(cls, *faults: Fault) -> Composite:
        """Return several faults of any kinds as one; composites among them are taken apart."""
        parts: list[lab_fault.Fault] = []
        for fault in faults:
            if isinstance(fault, Composite):
                parts.extend(fault.faults)
            elif isinstance(fault, lab_fault.Fault):
                parts.append(fault)
            else:
                raise UserError(f"not a fault of a lab: {fault.describe()}")
        return cls(parts, max((fault.limit_s for fault in parts if fault.limit_s is not None), default=None))

    @property
    def stays(self) -> bool:
        """Whether there is something to heal."""
        return any(fault.stays for fault in self.faults)

    @property
    def is_active(self) -> bool:
        """Whether one of them is on record."""
        return any(fault.is_active for fault in self.faults)

    def describe(self) -> str:
        """Return one line for people."""
        return " + ".join(fault.describe() for fault in self.faults) or "nothing"

    def available(self) -> str | None:
        """Return the first reason why one of them cannot be injected."""
        reasons = (fault.available() for fault in self.faults)
        return next((reason for reason in reasons if reason is not None), None)

    def inject(self) -> None:
        """Inject them all."""
        self.injected_ns = time.time_ns()
        lab_fault.inject(self.faults)
        self.injected_ns = min((fault.injected_ns or 0 for fault in self.faults), default=self.injected_ns)

    def verify_injected(self, *, timeout_s: float = VERIFY_TIMEOUT_S) -> None:
        """Prove that each of them bites."""
        for fault in self.faults:
            fault.verify_injected(timeout_s=timeout_s)

    @property
    def looked_at_after_s(self) -> float:
        """The longest wait of them."""
        return max((fault.looked_at_after_s for fault in self.faults), default=0.0)

    def is_back(self) -> bool:
        """Look whether all of them are."""
        return all(fault.is_back() for fault in self.faults)

    def heal(self) -> None:
        """Heal them all, newest first; when one cannot be healed, the others are, and its error is raised."""
        errors: list[OvenbirdError] = []
        for fault in reversed(self.faults):
            try:
                fault.heal()
            except OvenbirdError as error:
                errors.append(error)
        if errors:
            raise errors[0]


def _kill(*, signal: str = "KILL", **values: Any) -> Kill:
    try:
        number = Signals[f"SIG{signal.removeprefix('SIG')}"]
    except KeyError:
        raise UserError(f"no signal {signal}", hint="KILL, TERM, SEGV, ...") from None
    return Kill(number_of_signal=number, **values)


FAULTS: Mapping[str, Callable[..., lab_fault.Fault]] = {**KINDS, "kill": _kill}
"""Kind -> what makes one from `lab`, `limit_s`, `node` or `nodes`, and parameters."""


def parameters(kind: str) -> Mapping[str, str]:
    """Return the parameters of a kind and their defaults ("" for those that must be given)."""
    if kind == "kill":
        return {"daemon": "", "signal": "KILL"}
    own = {
        "lab",
        "number",
        "limit_s",
        "injected_ns",
        "node",
        "nodes",
        "number_of_signal",
        "victim",
        "process",
        "killed",
    }
    return {
        item.name: "" if item.default is MISSING else str(item.default)
        for item in fields(KINDS[kind])
        if item.name not in own and not item.name.startswith("_")
    }


def _check(kind: str, values: Mapping[str, Any]) -> None:
    """Raise `UserError` for what is not a number where one is needed."""
    numbers = {item.name for item in fields(KINDS[kind]) if type(item.default) in (int, float)}
    for key, value in values.items():
        if key in numbers and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise UserError(f"fault {kind}: {key} must be a number, not {value!r}")


def make_fault(lab: Lab, kind: str, targets: Sequence[str], *, limit_s: float | None = LIMIT_S, **params: Any) -> Fault:
    """Return a fault that is ready to inject; `targets` are node names, `params` as the kind's class has them.

    The kinds of the network take all targets as one side; all others are injected on each target at once.
    `noop` does nothing. Raises `UserError` for an unknown kind or parameter.
    """
    if kind == "noop":
        return Composite((), limit_s)
    factory = FAULTS.get(kind)
    if factory is None:
        reason = UNAVAILABLE.get(kind)
        raise UserError(
            f"no fault {kind}" + (f" here: {reason}" if reason else ""),
            subject=lab.name,
            hint=f"there are: {', '.join(sorted(FAULTS))}",
        )
    if not targets:
        raise UserError(f"fault {kind}: no target", subject=lab.name)
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in params.items()}
    _check(kind, values)
    try:
        if kind in _OF_A_GROUP:
            return factory(lab=lab, limit_s=limit_s, nodes=tuple(targets), **values)
        faults = [factory(lab=lab, limit_s=limit_s, node=target, **values) for target in targets]
    except TypeError as error:
        raise UserError(f"fault {kind}: {error}", subject=lab.name) from error
    return faults[0] if len(faults) == 1 else Composite(faults, limit_s)
