"""What gateways are meant to cost, beside what runs measured: one row for each goal, stock OVN's figure next to it.

A goal is for the worst run and for the path (ICMP and UDP): what TCP makes of an outage is told by itself.
Every figure stands beside the noise of its runs. This module must never call a goal met that a run exceeded, nor leave
a run out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ovenbird.drill.figures import BASELINE, OURS, cell, line, number
from ovenbird.drill.script import Drill

DETECTIONS = 1.2
"""How many times BFD's detection a lost gateway may cost."""
STOCK_AWAY_S, RETURN_S = 16.0, 5.0
"""What a run of stock OVN takes besides its fault: our agents end and start; it has no way home."""
LOST = {"path_outage_ms": "lost_ms", "path_return_ms": "lost_return_ms"}
"""Figure of a goal -> what was really lost in it."""
HEADS = (
    "Event", "Drill", "Runs", "p50", "p95", "worst", "Lost", "Goal", "Met", "Noise", "TCP worst", "BFD's detection",
    "Stock OVN p50", "worst", "Runs",
)  # fmt: skip
INTRODUCTION = """\
All times in milliseconds: the largest gap between two delivered packets of any ICMP or UDP stream; nothing
subtracted. *Lost* is the longest time, of the worst run, in which every packet of such a stream was lost for ever: a
gap also has those in it that came late. *Goal* is for the worst run. *Noise* is the largest gap with nothing broken,
in the worst run: a figure that is not above it is *within the noise*, and proves no more than that. *Late only*: in no
run was anything lost for longer than the goal, but packets came later than that. *TCP* goes on
with its next retransmission, about 0.2, 0.7, 1.6 or 3.4 s after the first loss. *Stock OVN* is the same drill on the
same lab with Ovenbird's agents and controllers stopped, BFD at its defaults; invalid runs prove nothing and are only
counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What one event may cost."""

    event: str
    drill: str
    limit_ms: float
    figure: str = "path_outage_ms"
    is_by_detection: bool = False
    """Whether `DETECTIONS` times BFD's detection must be kept as well."""

    def limit(self, detect_ms: float | None) -> float:
        """Return what the worst run may cost; of several detections in force, that of the quickest counts."""
        return min(self.limit_ms, DETECTIONS * detect_ms) if self.is_by_detection and detect_ms else self.limit_ms


LOST_MS, PLANNED_MS, UNFIT_MS, CHANGED_MS, MANY_MS = 200.0, 20.0, 1500.0, 3000.0, 300.0
AFTERWARDS = "...and from its restart on"
"""An ovn-controller is started anew within a second: what that costs falls into the return."""
GOALS: tuple[Goal, ...] = (
    Goal(
        event="ovs-vswitchd of the active gateway killed", drill="gateway-crash", limit_ms=LOST_MS, is_by_detection=True
    ),
    Goal(event="its return", drill="gateway-crash", limit_ms=PLANNED_MS, figure="path_return_ms"),
    Goal(event="the active gateway loses power", drill="gateway-power-off", limit_ms=LOST_MS, is_by_detection=True),
    Goal(event="its return", drill="gateway-power-off", limit_ms=PLANNED_MS, figure="path_return_ms"),
    Goal(event="its tunnels are cut", drill="gateway-tunnel-cut", limit_ms=LOST_MS, is_by_detection=True),
    Goal(event="its return", drill="gateway-tunnel-cut", limit_ms=PLANNED_MS, figure="path_return_ms"),
    Goal(event="drained", drill="gateway-drain", limit_ms=PLANNED_MS),
    Goal(event="undrained, going home", drill="gateway-drain", limit_ms=PLANNED_MS, figure="path_return_ms"),
    Goal(event="50 routers drained and spread again", drill="gateway-rebalance", limit_ms=PLANNED_MS),
    Goal(event="uplink dead", drill="gateway-uplink-cut", limit_ms=UNFIT_MS),
    Goal(event="next hop dead", drill="gateway-nexthop-cut", limit_ms=UNFIT_MS),
    Goal(event="ovn-controller killed, the network changes", drill="gateway-controller-kill", limit_ms=CHANGED_MS),
    Goal(event=AFTERWARDS, drill="gateway-controller-kill", limit_ms=CHANGED_MS, figure="path_return_ms"),
    Goal(event="ovn-controller hangs, the network changes", drill="gateway-controller-stop", limit_ms=CHANGED_MS),
    Goal(event=AFTERWARDS, drill="gateway-controller-stop", limit_ms=CHANGED_MS, figure="path_return_ms"),
    Goal(event="gateways don't see each other", drill="gateway-partition", limit_ms=UNFIT_MS),
    Goal(
        event="all central hosts off, then the active gateway",
        drill="central-off-gateway-crash",
        limit_ms=LOST_MS,
        is_by_detection=True,
    ),
    Goal(event="their return", drill="central-off-gateway-crash", limit_ms=PLANNED_MS, figure="path_return_ms"),
    Goal(event="one of four gateways of 100 routers", drill="gateway-many-routers", limit_ms=MANY_MS),
    Goal(event="one of two gateways of 100 routers", drill="gateway-many-at-once", limit_ms=MANY_MS),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Todo:
    """Runs of one drill that are still to be made."""

    drill: Drill
    baseline: bool
    runs: int

    @property
    def expected_s(self) -> float:
        """Roughly how long they take."""
        held_s = self.drill.expected_s
        return self.runs * (held_s + STOCK_AWAY_S + RETURN_S if self.baseline else held_s)


def todo(figures: Mapping[str, Any], drills: Sequence[Drill], *, repeat: int, stock: int) -> list[Todo]:
    """Return what must be run until each drill has so many runs that prove something, of ours and of stock OVN."""
    found = []
    for drill in drills:
        for side, wanted in ((OURS, repeat), (BASELINE, stock if drill.has_baseline else 0)):
            outcomes = figures["drills"].get(drill.name, {}).get(side, {}).get("outcomes", {})
            there = outcomes.get("pass", 0) + outcomes.get("fail", 0)
            if there < wanted:
                found.append(Todo(drill=drill, baseline=side == BASELINE, runs=wanted - there))
    return found


def markdown(figures: Mapping[str, Any], *, command: str = "scripts/gateway-figures") -> str:
    """Return docs/gateway-figures.md from what `figures.measured` returns."""
    rows = [_row(goal, figures["drills"].get(goal.drill, {})) for goal in GOALS]
    places = dict.fromkeys(_place(sides[side]) for sides in figures["drills"].values() for side in sides)
    lines = [
        "# Figures of gateways",
        "",
        f"Written by `{command}`; do not edit. The whole catalogue, each drill once, is in [figures.md](figures.md).",
        "",
        INTRODUCTION,
        "",
        line(HEADS),
        line(["---" if head in ("Event", "Drill", "Met") else "---:" for head in HEADS]),
        *(line(row) for row in rows),
        "",
        *(f"- {place}" for place in places),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _row(goal: Goal, sides: Mapping[str, Any]) -> list[str]:
    ours, stock = sides.get(OURS) or {}, sides.get(BASELINE) or {}
    detect_ms = [each for each in ours.get("detect_limits_ms", ()) if each]
    limit_ms = goal.limit(min(detect_ms, default=None))
    return [
        goal.event,
        f"`{goal.drill}`",
        _runs(ours),
        *(cell(ours, goal.figure, part) for part in ("p50", "p95", "worst")),
        cell(ours, LOST[goal.figure], "worst"),
        number(limit_ms),
        met(ours, goal.figure, limit_ms),
        cell(ours, "noise_ms", "worst"),
        cell(ours, "tcp_outage_ms", "worst") if goal.figure == "path_outage_ms" else "-",
        " to ".join(dict.fromkeys(number(each) for each in (detect_ms[0], detect_ms[-1]))) if detect_ms else "-",
        *(cell(stock, goal.figure, part) for part in ("p50", "worst")),
        _runs(stock),
    ]


def met(side: Mapping[str, Any], figure: str, limit_ms: float) -> str:
    """Return whether the worst run kept the limit; one above it that is not above the noise proves neither."""
    worst_ms, lost_ms = ((side.get(each) or {}).get("worst") for each in (figure, LOST[figure]))
    if worst_ms is None:
        return "not measured"
    if worst_ms <= limit_ms:
        return "yes"
    if lost_ms is not None and lost_ms <= limit_ms:
        return "late only"
    return "within the noise" if worst_ms <= (side.get("noise_ms") or {}).get("worst", 0.0) else "no"


def _runs(side: Mapping[str, Any]) -> str:
    counted = {word: count for word, count in side.get("outcomes", {}).items() if count}
    if not counted:
        return "-"
    others = ", ".join(f"{count} {word}" for word, count in counted.items() if word != "pass")
    return f"{sum(counted.values())}" + (f" ({others})" if others else "")


def _place(side: Mapping[str, Any]) -> str:
    return f"{side['date']}: " + ", ".join(
        f"{key} {value}" for key, value in (side["machine"] | side["versions"]).items()
    )
