"""The acting controller's memory of which gateways must not be in one group, told by events (`plan.separation`).

What it knows is written to NB with the groups that follow from it, so that the next controller goes on from there. It
must never act by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from ovenbird.controller.events import GATEWAYS_APART, GATEWAYS_TOGETHER, Events
from ovenbird.plan import separation
from ovenbird.plan.hold_down import HoldDown
from ovenbird.plan.separation import Host, Pair, Separated, Watch, Why

WAITING_S = 0.05
ASK_EVERY_S = 1.0


class Separating:
    """Pairs that are apart, kept from one look to the next. `ask` has every chassis confirm that it works."""

    def __init__(self, events: Events, ask: Callable[[], None], hold_down: HoldDown) -> None:
        self._events = events
        self._hold_down = hold_down
        self._ask = ask
        self._asked_s = -math.inf
        self._watch = Watch()

    @property
    def separated(self) -> Mapping[Pair, Separated]:
        """Pairs that are apart now."""
        return self._watch.separated

    @property
    def look_again_s(self) -> float:
        """Longest time until the next look."""
        return WAITING_S if self._watch.is_waiting else math.inf

    def begin(self, separated: Mapping[Pair, Separated]) -> None:
        """Start from what NB holds: another controller acted before."""
        self._watch = Watch(separated=separated)

    def look(self, hosts: Sequence[Host], now_s: float) -> None:
        """Take in what is known now; `now_s` is monotonic."""
        before = self._watch.separated
        self._watch = separation.judge(hosts, self._watch, now_s, self._hold_down)
        if now_s - self._asked_s >= ASK_EVERY_S and separation.needs_confirmation(hosts):
            self._asked_s = now_s
            self._ask()
        for pair in sorted(before.keys() | self._watch.separated.keys(), key=sorted):
            was, now = before.get(pair), self._watch.separated.get(pair)
            if now is not None and (was is None or (was.why, was.lost) != (now.why, now.lost)):
                self._events.emit(GATEWAYS_APART, gateways=sorted(pair), why=now.why.value, lost=now.lost)
            elif was is not None and now is None:
                self._events.emit(GATEWAYS_TOGETHER, gateways=sorted(pair), why=was.why.value)

    def between(self, one: str, other: str) -> Why | None:
        """Return what is wrong between two gateways, or may be."""
        pair = frozenset((one, other))
        known = self._watch.separated.get(pair)
        if known is not None:
            return known.why
        return next((why for each, why in self._watch.suspect_since_s if each == pair), None)
