"""Cuts a daemon's log to the time of a run, so that a run's folder can be read years later without the machine.

Knows the two forms that daemons of a node write: Open vSwitch's `2026-01-31T09:30:00.123Z|...` and the agent's JSON
lines with `"at"`. A line without a time of its own (a traceback) belongs to the line before it. This module must never
drop the middle of a log in silence: what is left out is said where it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

MOST_BYTES = 2_000_000
"""Of one log in a run's folder; of a longer one the first and the last half of this are kept."""
MARGIN_NS = 1_000_000_000
_TIME = re.compile(r'(?:^|"at": ")(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d))')


def at_ns(line: str) -> int | None:
    """Return the time of a line in unix nanoseconds; None if it has none."""
    found = _TIME.search(line[:80])
    if found is None:
        return None
    try:
        return round(datetime.fromisoformat(found[1]).timestamp() * 1000) * 1_000_000
    except ValueError:
        return None


def during(lines: Iterable[str], start_ns: int, end_ns: int) -> Iterator[str]:
    """Return the lines of a time, with a second more on each side."""
    inside = False
    for line in lines:
        time_ns = at_ns(line)
        if time_ns is not None:
            inside = start_ns - MARGIN_NS <= time_ns <= end_ns + MARGIN_NS
        if inside:
            yield line


def capped(text: str, most: int = MOST_BYTES) -> str:
    """Return a text, or its first and last part with a note between them."""
    if len(text) <= most:
        return text
    head, tail = text[: most // 2].rpartition("\n")[0], text[-(most // 2) :].partition("\n")[2]
    return f"{head}\n[... {len(text) - len(head) - len(tail)} characters left out here ...]\n{tail}"


def excerpt(log: Path, start_ns: int, end_ns: int) -> str:
    """Return what a log says about a time; what cannot be read is said in its place."""
    try:
        with log.open(encoding="utf-8", errors="replace") as lines:
            return capped("".join(during(lines, start_ns, end_ns)))
    except OSError as error:
        return f"[this log could not be read: {error}]\n"
