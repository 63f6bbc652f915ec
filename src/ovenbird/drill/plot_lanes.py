"""The lower lanes of a plot: who led, who held the epoch, which gateway carried what, and what daemons did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ovenbird.drill.lanes import Lane, Mark, Segment
from ovenbird.drill.markup import Markup, number, tag
from ovenbird.drill.plot_view import CHARACTER, LEFT, RIGHT, WIDTH, View

LANE_H = 19.0
MOST_MARKS = 400


def draw_lane(lane: Lane, view: View, top: float, colours: Mapping[str, str]) -> Markup:
    """Return one lane; where it has no segment it is hatched. `colours`: node -> class."""
    hole = tag(
        "rect", tag("title", lane.empty), x=LEFT, y=top, width=WIDTH - LEFT - RIGHT, height=LANE_H, class_="hole"
    )
    title = lane.title if len(lane.title) * CHARACTER < LEFT else f"{lane.title[:25]}…"
    parts = [tag("text", tag("title", lane.title), title, x=8.0, y=top + 13.5, class_="name"), hole]
    shown = [each for each in lane.segments if view.shows(each.start_ns, each.end_ns)]
    return tag("g", parts, (_segment(each, view, top, colours) for each in shown))


def _segment(segment: Segment, view: View, top: float, colours: Mapping[str, str]) -> Markup:
    left, right = view.x(segment.start_ns), view.x(segment.end_ns)
    full = f"{segment.label}, {view.seconds(segment.start_ns)} to {view.seconds(segment.end_ns)}"
    kind = colours[segment.node.split(" + ")[0]] + (" clash" if segment.clash else "")
    box = tag("rect", tag("title", full), x=left, y=top, width=max(1.5, right - left), height=LANE_H, class_=kind)
    fits = int((right - left - 8) / CHARACTER)
    if fits < 2:
        return box
    text = segment.label if len(segment.label) <= fits else f"{segment.label[: fits - 1]}…"
    return tag("g", box, tag("text", text, x=left + 5, y=top + 13.5, class_="inside"))


def draw_marks(found: Sequence[Mark], view: View, top: float) -> Markup:
    """Return the row of error lines and of daemons that ended or started, a shape for each kind."""
    parts = [tag("text", "daemons, errors", x=8.0, y=top + 13.5, class_="name")]
    middle = top + LANE_H / 2
    for mark in [each for each in found if view.shows(each.at_ns, each.at_ns)][:MOST_MARKS]:
        x = view.x(mark.at_ns)
        title = tag("title", f"{view.seconds(mark.at_ns)}: {mark.what[:300]}")
        if mark.kind == "error":
            d = f"M{number(x - 5)} {number(middle + 5)}h10l-5 -10z"
            parts.append(tag("path", title, d=d, class_="error"))
        elif mark.kind == "gone":
            parts.append(tag("path", title, d=cross(x, middle), class_="mark"))
        else:
            parts.append(tag("circle", title, cx=x, cy=middle, r=4.0, class_="started"))
    return tag("g", parts)


def cross(x: float, y: float) -> str:
    """Return the path of a cross."""
    return f"M{number(x - 4)} {number(y - 4)}l8 8M{number(x - 4)} {number(y + 4)}l8 -8"
