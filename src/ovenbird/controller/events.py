"""The controller's events: one per change of state, none per turn of a loop.

The same record feeds the log, `status` and, later, metrics. Names are constants; what belongs to an event is
key=value. It must never hold a secret, nor be the only place where a failure shows.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

LEADERSHIP_WON = "leadership.won"
LEADERSHIP_LOST = "leadership.lost"
LEADERSHIP_TAKEN = "leadership.taken"
LEADERSHIP_CLAIM_FAILED = "leadership.claim_failed"
STORE_READY = "store.ready"
STORE_WRONG_CLUSTER = "store.wrong_cluster"
STORE_OBJECT_UNREADABLE = "store.object_unreadable"
APPLY_COMMITTED = "apply.committed"
APPLY_OUTCOME_RESOLVED = "apply.outcome_resolved"
BATCH_UNPACKED = "batch.unpacked"
NB_COMMITTED = "nb.committed"
NB_UNREACHABLE = "nb.unreachable"
DRIFT_REPAIRED = "drift.repaired"
PROBLEM_RAISED = "problem.raised"
PROBLEM_CLEARED = "problem.cleared"
PLACEMENT_CHANGED = "placement.changed"
GATEWAY_UNFIT = "gateway.unfit"
GATEWAY_FIT = "gateway.fit"
GATEWAYS_APART = "gateways.apart"
GATEWAYS_TOGETHER = "gateways.together"
GATEWAY_NOT_HELD = "gateway.not_held"
GATEWAY_HANDED_OVER = "gateway.handed_over"
GATEWAY_CHANGED = "gateway.changed"
GATEWAY_OUTAGE = "gateway.outage_estimated"
GATEWAY_CHANGE_UNTOLD = "gateway.change_untold"
TASK_FAILED = "task.failed"

_LOG = logging.getLogger("ovenbird.controller")
_LOUD = frozenset(
    {
        LEADERSHIP_CLAIM_FAILED,
        LEADERSHIP_TAKEN,
        STORE_WRONG_CLUSTER,
        STORE_OBJECT_UNREADABLE,
        NB_UNREACHABLE,
        DRIFT_REPAIRED,
    }
    | {PROBLEM_RAISED, TASK_FAILED, GATEWAY_UNFIT, GATEWAYS_APART}
)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that changed."""

    at_s: float
    """Unix seconds."""
    name: str
    fields: dict[str, Any] = field(default_factory=dict)


class Events:
    """The latest events and how often each happened."""

    def __init__(self, node: str, *, kept: int = 500, clock: Callable[[], float] = time.time) -> None:
        self._node = node
        self._clock = clock
        self.latest: deque[Event] = deque(maxlen=kept)
        self.counts: Counter[str] = Counter()

    def emit(self, name: str, **fields: Any) -> None:
        """Record an event."""
        self.latest.append(Event(self._clock(), name, fields))
        self.counts[name] += 1
        level = logging.WARNING if name in _LOUD else logging.INFO
        if _LOG.isEnabledFor(level):
            text = " ".join(f"{key}={value!r}" for key, value in fields.items())
            _LOG.log(level, "%s node=%s %s", name, self._node, text)

    def named(self, name: str) -> list[Event]:
        """Return the latest events of a name, oldest first."""
        return [event for event in self.latest if event.name == name]
