"""The plot of a run as SVG: loss and latency of every stream, writes, and who held what, over one axis of time.

The same plot is drawn for the whole run and for close-ups of it. Its size is bounded by its columns, not by the run's
packets. This module must never judge, nor draw anything that the record does not hold.
"""

from __future__ import annotations

from ovenbird.drill.judge import BITE_MS
from ovenbird.drill.lanes import lanes, marks
from ovenbird.drill.largest_gaps import outage_gap
from ovenbird.drill.markup import Markup, number, tag
from ovenbird.drill.outage import Record
from ovenbird.drill.plot_frame import axis, bands, fault_bars
from ovenbird.drill.plot_lanes import LANE_H, draw_lane, draw_marks
from ovenbird.drill.plot_traffic import (
    STREAM_H,
    WRITES_H,
    draw_stream,
    draw_writes,
    felt_outage,
    felt_return,
    felt_write_gap,
)
from ovenbird.drill.plot_view import COLOURS, NS_PER_S, TOP, WIDTH, View
from ovenbird.drill.record import RunRecord

SPACE, LANE_SPACE, FOOT_H = 14.0, 4.0, 26.0
WHOLE = "run"
FELT_WITHIN_S = 3
"""A gap that begins later than this after the last heal is not shown in the close-up of the outage."""


def views(record: RunRecord) -> list[View]:
    """Return the whole run, and close-ups of the outage and of the return if they are too short to be seen in it."""
    start_ns, end_ns, fault_ns = record.meta.load_started_ns, record.meta.ended_ns, record.fault_ns
    result = [View(name=WHOLE, title="The whole run", start_ns=start_ns, end_ns=end_ns, zero_ns=fault_ns)]
    felt = [gap for gap in (*(felt_outage(each, record) for each in record.streams), felt_write_gap(record)) if gap]
    felt = [gap for gap in felt if gap.start_ns <= max(record.healed_ns, fault_ns + FELT_WITHIN_S * NS_PER_S)]
    if felt and record.meta.windows:
        last_ns = max(gap.end_ns for gap in felt)
        result.append(_close_up(record, "outage", "Close-up: the outage", fault_ns, last_ns))
    late = [gap for gap in (felt_return(each, record) for each in record.streams) if gap]
    if late:
        worst = max(late, key=lambda gap: gap.ms)
        result.append(_close_up(record, "return", "Close-up: the return", worst.start_ns, worst.end_ns))
    return [result[0], *(view for view in result[1:] if view.end_ns - view.start_ns < 0.7 * (end_ns - start_ns))]


def view_streams(record: RunRecord, view: View) -> list[Record]:
    """Return the streams of a plot, the worst first; a close-up leaves out those that felt nothing in its time."""
    worst = {stream.name: outage_gap(stream, record).ms for stream in record.streams}
    felt = [stream for stream in record.streams if view.name == WHOLE or _felt_in(stream, record, view)]
    return sorted(felt, key=lambda stream: (-round(worst[stream.name] / BITE_MS), stream.name))


def _felt_in(stream: Record, record: RunRecord, view: View) -> bool:
    gaps = (felt_outage(stream, record), felt_return(stream, record))
    return any(gap is not None and view.shows(gap.start_ns, gap.end_ns) for gap in gaps)


def plot(record: RunRecord, view: View) -> Markup:
    """Return one plot; `view.name` makes its ids unique on the page."""
    y = TOP + 6
    parts: list[Markup] = []
    colours = {node: f"n{at % COLOURS}" for at, node in enumerate(_nodes(record))}
    for stream in view_streams(record, view):
        parts.append(draw_stream(record, stream, view, y))
        y += STREAM_H + SPACE
    if record.writes:
        parts.append(draw_writes(record, view, y))
        y += WRITES_H + SPACE
    for lane in lanes(record):
        parts.append(draw_lane(lane, view, y, colours))
        y += LANE_H + LANE_SPACE
    if marks(record):
        parts.append(draw_marks(marks(record), view, y))
        y += LANE_H + LANE_SPACE
    title = tag("title", f"{view.title} of {record.meta.drill}", id=f"{view.name}-title")
    about = tag("desc", _description(record, view), id=f"{view.name}-desc")
    return tag(
        "svg",
        title,
        about,
        axis(view, y),
        bands(record, view, y),
        parts,
        fault_bars(record, view),
        class_="plot",
        role="img",
        aria_labelledby=f"{view.name}-title {view.name}-desc",
        viewBox=f"0 0 {number(WIDTH)} {number(y + FOOT_H)}",
    )


def patterns() -> Markup:
    """Return the hatching that all plots of a page share."""
    stroke = tag("path", d="M0 6 L6 0", class_="hatchline")
    hatch = tag("pattern", stroke, id="hatch", width="6", height="6", patternUnits="userSpaceOnUse")
    return tag("svg", tag("defs", hatch), width="0", height="0", aria_hidden="true", style="position:absolute")


def _close_up(record: RunRecord, name: str, title: str, start_ns: int, end_ns: int) -> View:
    margin_ns = max(NS_PER_S // 2, (end_ns - start_ns) // 4)
    return View(
        name=name,
        title=title,
        start_ns=max(record.meta.load_started_ns, start_ns - margin_ns),
        end_ns=min(record.meta.ended_ns, end_ns + margin_ns),
        zero_ns=record.fault_ns,
    )


def _nodes(record: RunRecord) -> list[str]:
    return sorted({node for lane in lanes(record) for each in lane.segments for node in each.node.split(" + ")})


def _description(record: RunRecord, view: View) -> str:
    parts = []
    for stream in sorted(record.streams, key=lambda stream: stream.name):
        gap = outage_gap(stream, record)
        parts.append(
            f"{stream.name}: largest gap {gap.ms:.0f} ms at {view.seconds(gap.start_ns)}, {stream.lost()} lost."
        )
    for lane in lanes(record):
        held = [f"{each.label} from {view.seconds(each.start_ns)}" for each in lane.segments[:20]]
        parts.append(f"{lane.title}: {', '.join(held)}.")
    return " ".join(parts)
