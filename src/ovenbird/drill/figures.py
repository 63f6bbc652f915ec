"""The published figures, from finished runs: one row per drill, ours beside stock OVN's.

JSON is the source, Markdown the page. Every row says how often, when, on which machine, with which versions and seeds
it was measured, so that rows may be measured anew one drill at a time; the others stay as they are. This module must
never round a limit kept into one that was not, nor leave out a failed run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ovenbird.drill.judge import Outcome
from ovenbird.drill.judged import Judged
from ovenbird.drill.record import Meta
from ovenbird.drill.repeats import repeats

FORMAT = 1
NS_PER_S = 1_000_000_000
OURS, BASELINE = "ours", "baseline"
HEADS = (
    "Drill", "Verdict", "Outage p50", "worst", "ICMP, UDP p50", "worst", "TCP worst", "Limit", "Detector",
    "Stock OVN p50", "worst", "Stock ICMP, UDP worst", "Ratio",
    "Writes worst", "NB worst", "Return p50", "worst", "Return ICMP, UDP worst", "Noise", "Runs", "Invariants",
)  # fmt: skip
INTRODUCTION = """\
All times in milliseconds, as a workload or a client saw them: the largest gap between two delivered packets, two
acknowledged writes, or two writes that were seen in NB; the normal spacing included, nothing subtracted. *Outage* is
that of the worst stream, TCP included. *ICMP, UDP* is for how long the path was gone; a *TCP* connection goes on with
its first retransmission after that, and its time-out of 0.2 s doubles in silence: retransmissions come about 0.2, 0.7,
1.6 and 3.4 s after the first loss, whatever the network did in between. *Limit* is that of the stream with the worst
outage. *Detector* is what the responsible timers need before anything can react.
*Noise* is the largest gap of packets with nothing broken, in the worst run. *Stock OVN* is the same drill on the same
machine with Ovenbird's agents and controllers stopped; *ratio* is its p50 in parts of ours."""


def measured(runs: Sequence[tuple[Meta, Judged]]) -> dict[str, Any]:
    """Return figures.json's content for a set of runs: drill -> ours / baseline -> what was measured."""
    groups: dict[tuple[str, str], list[tuple[Meta, Judged]]] = {}
    for meta, run in runs:
        groups.setdefault((run.drill, BASELINE if meta.baseline else OURS), []).append((meta, run))
    drills: dict[str, dict[str, Any]] = {}
    for (drill, side), group in groups.items():
        drills.setdefault(drill, {})[side] = _side(group)
    return {"format": FORMAT, "drills": dict(sorted(drills.items()))}


def merge(existing: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return the existing figures with what was measured anew: each side of each drill is replaced as a whole.

    Runs of stock OVN that proved nothing replace nothing.
    """
    drills = {name: dict(sides) for name, sides in existing.get("drills", {}).items()}
    for name, sides in new["drills"].items():
        known = drills.get(name, {})
        kept = {BASELINE: known[BASELINE]} if BASELINE in known and not _proves(sides.get(BASELINE)) else {}
        drills[name] = {**known, **sides, **kept}
    return {"format": FORMAT, "drills": dict(sorted(drills.items()))}


def _proves(side: Mapping[str, Any] | None) -> bool:
    return side is not None and bool(side["outcomes"]["pass"] or side["outcomes"]["fail"])


def markdown(figures: Mapping[str, Any], *, order: Sequence[str] = (), command: str = "scripts/drills") -> str:
    """Return docs/figures.md. `order` is the catalogue's; drills that it does not know come last."""
    drills = figures["drills"]
    names = [*(name for name in order if name in drills), *sorted(set(drills) - set(order))]
    places = _places(drills, names)
    rows = [_row(name, drills[name], places) for name in names]
    lines = [
        "# Figures",
        "",
        f"Written by `{command}` from `figures.json`; do not edit. What the columns mean is in [drills.md](drills.md).",
        "",
        INTRODUCTION,
        "",
        line(HEADS),
        line(["---" if at in (0, 1, len(HEADS) - 1) else "---:" for at in range(len(HEADS))]),
        *(line(row) for row in rows),
        "",
        *_failures(drills, names),
        "## Where and when",
        "",
        *(_place(number, place) for place, number in places.items()),
        "",
        "## Seeds",
        "",
        *(line for name in names for line in _seeds(name, drills[name])),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _side(group: Sequence[tuple[Meta, Judged]]) -> dict[str, Any]:
    latest = max((meta for meta, _run in group), key=lambda meta: meta.started_ns)
    run = max((each for _meta, each in group), key=lambda each: each.verdict.figures.outage_ms or 0.0)
    return {
        **repeats([each.verdict for _meta, each in group]).to_json(),
        "limit_ms": run.packet_limit_ms,
        "write_limit_ms": run.write_limit_ms,
        "return_limit_ms": run.return_limit_ms,
        "detect_limit_ms": round(latest.detect_limit_ms, 1),
        "detect_limits_ms": sorted({round(meta.detect_limit_ms, 1) for meta, _run in group}),
        "expected_failure": run.expected_failure,
        "reasons": list(dict.fromkeys(reason for _meta, each in group for reason in each.verdict.reasons)),
        "date": datetime.fromtimestamp(latest.started_ns // NS_PER_S, UTC).date().isoformat(),
        "versions": dict(sorted(latest.versions.items())),
        "machine": dict(sorted(latest.machine.items())),
        "seeds": [meta.seed for meta, _run in group],
    }


def _row(name: str, sides: Mapping[str, Any], places: Mapping[str, int]) -> list[str]:
    ours, stock = sides.get(OURS) or {}, sides.get(BASELINE) or {}
    at = places[_where(ours or stock)]
    stock_at = places[_where(stock)] if stock else at
    return [
        f"`{name}`",
        _verdict(ours) if ours else "-",
        cell(ours, "outage_ms", "p50"),
        cell(ours, "outage_ms", "worst"),
        cell(ours, "path_outage_ms", "p50"),
        cell(ours, "path_outage_ms", "worst"),
        cell(ours, "tcp_outage_ms", "worst"),
        number(ours.get("limit_ms")),
        number(ours.get("detect_limit_ms") or None),
        cell(stock, "outage_ms", "p50") + (f" [{stock_at}]" if stock_at != at else ""),
        cell(stock, "outage_ms", "worst"),
        cell(stock, "path_outage_ms", "worst"),
        _ratio(ours, stock),
        cell(ours, "write_outage_ms", "worst"),
        cell(ours, "nb_outage_ms", "worst"),
        cell(ours, "return_outage_ms", "p50"),
        cell(ours, "return_outage_ms", "worst"),
        cell(ours, "path_return_ms", "worst"),
        cell(ours or stock, "noise_ms", "worst"),
        f"{sum((ours or stock).get('outcomes', {}).values())} [{at}]",
        _invariants(ours),
    ]


def _verdict(side: Mapping[str, Any]) -> str:
    """Return pass only if every run that proved anything passed; runs that proved nothing are told beside it."""
    counted = {key: value for key, value in side["outcomes"].items() if value}
    invalid = counted.pop(Outcome.INVALID.value, 0)
    if not counted:
        return Outcome.INVALID.value if invalid else "-"
    word = next(iter(counted)) if len(counted) == 1 else ", ".join(f"{count} {key}" for key, count in counted.items())
    expected = " (expected)" if side["expected_failure"] and set(counted) == {Outcome.FAIL.value} else ""
    return f"{word}{expected}{f', {invalid} invalid' if invalid else ''}"


def _invariants(side: Mapping[str, Any]) -> str:
    if not side or not (side["outcomes"]["pass"] or side["outcomes"]["fail"]):
        return "-"
    return "violated: " + ", ".join(side["violated"]) if side["violated"] else "held"


def _ratio(ours: Mapping[str, Any], stock: Mapping[str, Any]) -> str:
    mine, theirs = ((side.get("outage_ms") or {}).get("p50") for side in (ours, stock))
    return f"{theirs / mine:.1f}x" if mine and theirs is not None else "-"


def cell(side: Mapping[str, Any], figure: str, part: str) -> str:
    """Return one figure's p50, p95 or worst; "-" where it was not measured."""
    return number((side.get(figure) or {}).get(part))


def number(value: float | None) -> str:
    """Return whole milliseconds."""
    return "-" if value is None else f"{value:.0f}"


def _failures(drills: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    lines = []
    for name in names:
        side = drills[name].get(OURS)
        if not side or not side["reasons"]:
            continue
        lines.append(f"- `{name}`: {'; '.join(_escaped(reason) for reason in side['reasons'][:4])}.")
        if side["expected_failure"]:
            lines[-1] += f" Expected today: {_escaped(side['expected_failure'])}."
    return ["## What did not pass, and why", "", *lines, ""] if lines else []


def _places(drills: Mapping[str, Any], names: Sequence[str]) -> dict[str, int]:
    """Give each machine, version and day that figures come from a number, in the order of the rows."""
    places: dict[str, int] = {}
    for name in names:
        for side in (OURS, BASELINE):
            if side in drills[name]:
                places.setdefault(_where(drills[name][side]), len(places) + 1)
    return places


def _where(side: Mapping[str, Any]) -> str:
    facts = [*side["machine"].items(), *side["versions"].items()]
    return f"{side['date']}: " + ", ".join(f"{key} {value}" for key, value in facts)


def _place(number: int, place: str) -> str:
    return f"- [{number}] {_escaped(place)}"


def _seeds(name: str, sides: Mapping[str, Any]) -> list[str]:
    return [
        f"- `ovenbird drill run {name}{' --baseline' if side == BASELINE else ''} --seed N`: "
        + ", ".join(map(str, sides[side]["seeds"]))
        for side in (OURS, BASELINE)
        if side in sides
    ]


def line(cells: Sequence[str]) -> str:
    """Return one line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    """Return a text in which nothing is Markdown or HTML, on one line."""
    plain = " ".join(text.split())
    return "".join(f"\\{each}" if each in "\\`*_|<>[]" else each for each in plain)
