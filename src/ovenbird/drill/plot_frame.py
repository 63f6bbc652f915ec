"""The frame of a plot: the axis of time, the fault over everything, and when it was back in service."""

from __future__ import annotations

import math

from ovenbird.drill.markup import Markup, number, tag
from ovenbird.drill.plot_view import CHARACTER, LEFT, NS_PER_S, TOP, WIDTH, View
from ovenbird.drill.record import RunRecord, Window


def axis(view: View, bottom: float) -> Markup:
    """Return the axis of time, with at most some ten labels."""
    span_s = (view.end_ns - view.start_ns) / NS_PER_S
    step_s = _step(span_s / 10)
    digits = max(0, -math.floor(math.log10(step_s) + 1e-9))
    first = math.ceil((view.start_ns - view.zero_ns) / NS_PER_S / step_s - 1e-9)
    last = math.floor((view.end_ns - view.zero_ns) / NS_PER_S / step_s + 1e-9)
    parts = []
    for at in range(first, last + 1):
        x = view.x(view.zero_ns + round(at * step_s * NS_PER_S))
        parts.append(tag("line", x1=x, x2=x, y1=TOP, y2=bottom, class_="faint"))
        label = f"{at * step_s:.{digits}f} s" if at else "0"
        parts.append(tag("text", label, x=x, y=bottom + 16, text_anchor="middle", class_="small"))
    caption = tag("text", "seconds from the fault", x=LEFT - 12, y=bottom + 16, text_anchor="end", class_="small")
    return tag("g", parts, caption)


def _step(wanted: float) -> float:
    power = 10.0 ** math.floor(math.log10(max(wanted, 1e-6)))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= wanted)


def bands(record: RunRecord, view: View, bottom: float) -> Markup:
    """Return the times of the faults, laid over everything."""
    parts = []
    for window in record.meta.windows:
        until_ns = window.healed_ns or window.injected_ns
        if not view.shows(window.injected_ns, until_ns):
            continue
        left, right = view.x(window.injected_ns), view.x(until_ns)
        parts.append(tag("rect", x=left, y=40.0, width=right - left, height=bottom - TOP, class_="band"))
        edges = (window.injected_ns, until_ns)
        parts += [
            tag("line", x1=view.x(at), x2=view.x(at), y1=34.0, y2=bottom, class_="edge")
            for at in dict.fromkeys(edges)
            if view.shows(at, at)
        ]
    return tag("g", parts)


def fault_bars(record: RunRecord, view: View) -> Markup:
    """Return the faults by name, and the moment of the return to service."""
    parts = [tag("text", "fault", x=8.0, y=29.0, class_="name")]
    free = LEFT
    for window in record.meta.windows:
        if view.shows(window.injected_ns, window.healed_ns or window.injected_ns):
            bar, free = _fault_bar(window, view, free)
            parts.append(bar)
    back_ns = record.meta.back_ns
    if back_ns is not None and view.shows(back_ns, back_ns):
        x = view.x(back_ns)
        anchor, shift = ("end", -5.0) if x > WIDTH - 120 else ("start", 5.0)
        parts.append(tag("line", x1=x, x2=x, y1=16.0, y2=TOP, class_="back"))
        parts.append(tag("text", "back in service", x=x + shift, y=13.0, text_anchor=anchor, class_="backtext"))
    return tag("g", parts)


def _fault_bar(window: Window, view: View, free: float) -> tuple[Markup, float]:
    """Return one fault, with its name if there is room from `free` on, and from where on there is room after it."""
    left, right = view.x(window.injected_ns), view.x(window.healed_ns or window.injected_ns)
    named = any(target in window.fault for target in window.targets)
    name = window.fault if named else f"{window.fault} {', '.join(window.targets)}".strip()
    name += "" if window.verified else " (not verified!)"
    until = f" to {view.seconds(window.healed_ns)}" if window.healed_ns else ""
    title = tag("title", f"{name}, from {view.seconds(window.injected_ns)}{until}")
    if right - left > 3:
        shape = tag("rect", title, x=left, y=16.0, width=right - left, height=18.0, class_="bar")
    else:
        shape = tag("path", title, d=f"M{number(left - 6)} 16 h12 l-6 18 z", class_="bar")
    if right - left > len(name) * CHARACTER + 8:
        return tag("g", shape, tag("text", name, x=left + 6, y=29.0, class_="onbar")), max(free, right)
    if right + 9 < free:
        return shape, free
    return tag("g", shape, tag("text", name, x=right + 9, y=29.0, class_="small")), right + 12 + len(name) * CHARACTER
