"""Faults on the nodes of a lab: each can be injected, proven to bite, and healed by any later command.

This package must never touch anything that the lab's state file does not name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ovenbird.lab.faults.clock import ClockJump
from ovenbird.lab.faults.cpu_load import CpuLoad
from ovenbird.lab.faults.daemons import CrashLoop, Exit, Kill, Stop
from ovenbird.lab.faults.database_file import DatabaseDamage
from ovenbird.lab.faults.delay import Delay
from ovenbird.lab.faults.disk_full import DiskFull
from ovenbird.lab.faults.drained import Drain
from ovenbird.lab.faults.failpoint import RaftFailpoint
from ovenbird.lab.faults.fault import DidNotBite, Fault, inject
from ovenbird.lab.faults.network import Loss, Partition, Rate
from ovenbird.lab.faults.next_hop import NextHopCut
from ovenbird.lab.faults.rebalanced import Rebalance
from ovenbird.lab.faults.wires import LinkDown, LinkFlap, PowerOff
from ovenbird.lab.lab import Lab
from ovenbird.model.errors import OvenbirdError

__all__ = [
    "KINDS",
    "ClockJump",
    "CpuLoad",
    "CrashLoop",
    "DatabaseDamage",
    "Delay",
    "DidNotBite",
    "DiskFull",
    "Drain",
    "Exit",
    "Fault",
    "Kill",
    "LinkDown",
    "LinkFlap",
    "Loss",
    "NextHopCut",
    "Partition",
    "PowerOff",
    "RaftFailpoint",
    "Rate",
    "Rebalance",
    "Stop",
    "active",
    "heal",
    "inject",
]

_CLASSES: Sequence[type[Fault]] = (
    Kill,
    Exit,
    Stop,
    CrashLoop,
    PowerOff,
    LinkDown,
    LinkFlap,
    Partition,
    Loss,
    Rate,
    NextHopCut,
    Delay,
    DiskFull,
    DatabaseDamage,
    RaftFailpoint,
    ClockJump,
    Drain,
    Rebalance,
    CpuLoad,
)
KINDS: Mapping[str, type[Fault]] = {cls.kind: cls for cls in _CLASSES}
"""Kind -> class."""


def active(lab: Lab) -> list[Fault]:
    """Return the faults that are recorded as active, oldest first."""
    return [_restored(lab, item) for item in lab.file.require().faults]


def heal(lab: Lab, *, node: str = "") -> list[Fault]:
    """Heal all active faults, or those of one node, newest first; return what was healed.

    When one cannot be healed, all others are, and then the first error is raised.
    """
    healed: list[Fault] = []
    errors: list[OvenbirdError] = []
    for fault in reversed(active(lab)):
        if node and not fault.concerns(node):
            continue
        try:
            fault.heal()
            healed.append(fault)
        except OvenbirdError as error:
            errors.append(error)
    if errors:
        raise errors[0]
    return healed


def _restored(lab: Lab, item: Mapping[str, Any]) -> Fault:
    return KINDS[item["kind"]].restored(lab, item)
