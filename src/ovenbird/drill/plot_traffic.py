"""The traffic of a plot: loss and latency of streams, acknowledgements of writes, and the largest gap of each."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from statistics import median

from ovenbird.drill.downsample import Column, columns, counts
from ovenbird.drill.judge import BITE_MS
from ovenbird.drill.largest_gaps import outage_gap, return_gap, write_gap
from ovenbird.drill.markup import Markup, number, tag
from ovenbird.drill.outage import NS_PER_MS, Gap, Record
from ovenbird.drill.plot_lanes import MOST_MARKS, cross
from ovenbird.drill.plot_view import COLUMNS, LEFT, RIGHT, WIDTH, View
from ovenbird.drill.record import RunRecord

STREAM_H, WRITES_H = 52.0, 38.0
TOLD_WIDTH = 110.0
"""Of the words beside a gap, at least."""
FLOOR_MS = 0.1
"""Lower end of the latency scale, which is logarithmic; its upper end fits the largest latency seen."""


def felt_outage(stream: Record, record: RunRecord) -> Gap | None:
    """Return the outage of a stream if it is longer than its normal spacing explains."""
    return _felt(outage_gap(stream, record), stream.interval_ms)


def felt_return(stream: Record, record: RunRecord) -> Gap | None:
    """Return the largest gap after the outage if it is longer than the normal spacing explains."""
    return _felt(return_gap(stream, record), stream.interval_ms)


def felt_write_gap(record: RunRecord) -> Gap | None:
    """Return the longest time without an acknowledged write if it is longer than the writes' spacing explains."""
    sent = sorted(write.sent_ns for write in record.writes)
    spacing = [(b - a) / NS_PER_MS for a, b in itertools.pairwise(sent)]
    return _felt(write_gap(record), median(spacing) if spacing else 0.0)


def _felt(gap: Gap | None, spacing_ms: float) -> Gap | None:
    return gap if gap is not None and gap.ms >= max(BITE_MS, 3 * spacing_ms) else None


def draw_stream(record: RunRecord, stream: Record, view: View, top: float) -> Markup:
    """Return one stream: its latency from least to most in each column, its losses, its largest gaps."""
    count = _count(stream, view)
    shown = columns(stream, view.start_ns, view.end_ns, count)
    most_ms = max((each.max_ms for each in shown if each.max_ms is not None), default=1.0)
    decades = max(2, math.ceil(math.log10(max(most_ms, 1e-9) / FLOOR_MS) - 1e-9))
    bottom = top + STREAM_H

    def y(ms: float) -> float:
        return bottom - min(1.0, max(0.0, math.log10(max(ms, FLOOR_MS) / FLOOR_MS) / decades)) * (STREAM_H - 4)

    inside = sum(each.sent for each in shown)
    lost = sum(each.lost for each in shown)
    parts = [
        tag("text", stream.name, x=8.0, y=top + 15, class_="name"),
        tag("text", f"{stream.kind}, {lost} of {inside} lost", x=8.0, y=top + 31, class_="small"),
        tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=bottom, y2=bottom, class_="grid"),
    ]
    for decade in range(0, decades + 1, 1 if decades < 4 else 2):
        ms = FLOOR_MS * 10**decade
        label = f"{ms / 1000:g} s" if ms >= 1000 else f"{ms:g} ms"
        parts.append(tag("text", label, x=LEFT - 6, y=y(ms) + 3.5, text_anchor="end", class_="small"))
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y(ms), y2=y(ms), class_="faint"))
    width = (WIDTH - LEFT - RIGHT) / count
    bars = [
        f"M{number(LEFT + (each.at + 0.5) * width)} {number(y(each.min_ms) + 0.6)}V{number(y(each.max_ms) - 0.6)}"
        for each in shown
        if each.min_ms is not None and each.max_ms is not None
    ]
    losses = [_loss(run, width, top, bottom) for run in _alike(shown)]
    parts.append(tag("path", d="".join(bars) or "M0 0", class_="latency"))
    parts.append(tag("path", d="".join(losses) or "M0 0", class_="loss"))
    outage, late = felt_outage(stream, record), felt_return(stream, record)
    parts.append(_told(outage, view, top, "outage"))
    crowded = outage is not None and late is not None and view.x(late.end_ns) - view.x(outage.end_ns) < TOLD_WIDTH
    parts.append(_told(late, view, top, "on return", line=1 if crowded else 0))
    parts += [
        tag("text", "✕", tag("title", f"connection ended: {why}"), x=view.x(at), y=top + 12, class_="told")
        for at, why in stream.breaks
        if view.shows(at, at)
    ]
    return tag("g", parts)


def _count(stream: Record, view: View) -> int:
    """Return so many columns that none is empty for want of packets: in a close-up, packets are sparse."""
    spacing_ns = max(1.0, stream.interval_ms * NS_PER_MS)
    return max(1, min(COLUMNS, int((view.end_ns - view.start_ns) / spacing_ns / 2)))


def _alike(shown: Sequence[Column]) -> list[tuple[int, int, float]]:
    """Return runs of neighbouring columns with the same share of loss: (first, behind the last, share)."""
    runs: list[tuple[int, int, float]] = []
    for each in shown:
        share = each.lost / each.sent
        if not share:
            continue
        if runs and runs[-1][1] == each.at and runs[-1][2] == share:
            runs[-1] = (runs[-1][0], each.at + 1, share)
        else:
            runs.append((each.at, each.at + 1, share))
    return runs


def _loss(run: tuple[int, int, float], width: float, top: float, bottom: float) -> str:
    first, behind, share = run
    height, wide = number(max(12.0, share * (bottom - top))), number(max(2.0, (behind - first) * width))
    return f"M{number(LEFT + first * width)} {number(bottom)}v-{height}h{wide}v{height}z"


def _told(gap: Gap | None, view: View, top: float, noun: str, line: int = 0) -> Markup:
    """Return a bracket over a gap, with its length in words on the first line or the one below."""
    if gap is None or not view.shows(gap.start_ns, gap.end_ns):
        return Markup("")
    left, right = view.x(gap.start_ns), view.x(gap.end_ns)
    text = f"{noun} {gap.ms:.0f} ms"
    at_end = right + len(text) * 7 > WIDTH - RIGHT
    x, anchor = (left - 5, "end") if at_end else (right + 5, "start")
    bracket = f"M{number(left)} {number(top + 6)}v-5H{number(max(right, left + 1.5))}v5"
    return tag(
        "g",
        tag("path", d=bracket, class_="gap"),
        tag("text", text, x=x, y=top + 11 + 13 * line, text_anchor=anchor, class_="told"),
    )


def draw_writes(record: RunRecord, view: View, top: float) -> Markup:
    """Return the acknowledgements of writes over time, and a cross for each write that got none."""
    acked = [each.answered_ns for each in record.writes if each.outcome == "acked" and each.answered_ns is not None]
    shown = counts(acked, view.start_ns, view.end_ns, COLUMNS)
    most, bottom = max(shown.values(), default=1), top + WRITES_H
    width = (WIDTH - LEFT - RIGHT) / COLUMNS
    bars = [
        f"M{number(LEFT + (at + 0.5) * width)} {number(bottom)}v-{number(count / most * (WRITES_H - 16))}"
        for at, count in shown.items()
    ]
    others = [each for each in record.writes if each.outcome != "acked" and view.shows(each.sent_ns, each.sent_ns)]
    parts = [
        tag("text", "writes", x=8.0, y=top + 15, class_="name"),
        tag("text", f"{len(acked)} of {len(record.writes)} acknowledged", x=8.0, y=top + 30, class_="small"),
        tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=bottom, y2=bottom, class_="grid"),
        tag("path", d="".join(bars) or "M0 0", class_="acked"),
        *(
            tag(
                "path",
                tag("title", f"write {each.number}: {each.outcome} {each.detail[:120]}"),
                d=cross(view.x(each.sent_ns), bottom - 6),
                class_="mark",
            )
            for each in others[:MOST_MARKS]
        ),
    ]
    return tag("g", parts, _told(felt_write_gap(record), view, top, "no acknowledgement for"))
