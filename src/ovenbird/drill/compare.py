"""Lays two verdicts, or two sets of repeats, side by side: figures with their ratio, and what appeared or went.

A ratio is only given where both were measured; a difference within the noise of either is called so, because on a busy
machine it means nothing. This module must never read a file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ovenbird.drill.judge import FIGURES
from ovenbird.drill.judged import Judged
from ovenbird.drill.repeats import Repeats, Spread, repeats


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One figure of both sides; None: not measured."""

    figure: str
    """For example "outage_ms p50"; with one run on each side just "outage_ms"."""
    before: float | None
    after: float | None
    within_noise: bool

    @property
    def ratio(self) -> float | None:
        """After in parts of before."""
        return self.after / self.before if self.before and self.after is not None else None

    def to_json(self) -> dict[str, Any]:
        """Return the pair as JSON, milliseconds with one decimal."""
        return {
            "figure": self.figure,
            "before": None if self.before is None else round(self.before, 1),
            "after": None if self.after is None else round(self.after, 1),
            "ratio": None if self.ratio is None else round(self.ratio, 2),
            "within_noise": self.within_noise,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What differs between two runs, or two sets of them."""

    drills: tuple[str, str]
    runs: tuple[int, int]
    outcomes: tuple[dict[str, int], dict[str, int]]
    pairs: tuple[Pair, ...]
    appeared: tuple[str, ...]
    """Reasons and violations of the second that the first has not."""
    gone: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as JSON."""
        return {
            "drills": list(self.drills),
            "runs": list(self.runs),
            "outcomes": list(self.outcomes),
            "figures": [pair.to_json() for pair in self.pairs],
            "appeared": list(self.appeared),
            "gone": list(self.gone),
        }


def compare(before: Sequence[Judged], after: Sequence[Judged]) -> Comparison:
    """Return the comparison of two sets of runs, none of them empty."""
    first, second = (repeats([run.verdict for run in side]) for side in (before, after))
    old, new = _why(before), _why(after)
    return Comparison(
        drills=(_names(before), _names(after)),
        runs=(len(before), len(after)),
        outcomes=(first.outcomes, second.outcomes),
        pairs=tuple(_pairs(first, second, alone=len(before) == len(after) == 1)),
        appeared=tuple(sorted(new - old)),
        gone=tuple(sorted(old - new)),
    )


def _pairs(first: Repeats, second: Repeats, *, alone: bool) -> list[Pair]:
    noise_ms = max((side.noise_ms.worst for side in (first, second) if side.noise_ms), default=0.0)
    found = []
    for figure in FIGURES:
        a: Spread | None = getattr(first, figure)
        b: Spread | None = getattr(second, figure)
        for part in ("worst",) if alone else ("p50", "p95", "worst"):
            x, y = (getattr(side, part) if side else None for side in (a, b))
            if x is None and y is None:
                continue
            close = x is not None and y is not None and abs(x - y) <= noise_ms
            name = figure if alone else f"{figure} {part}"
            found.append(Pair(figure=name, before=x, after=y, within_noise=close))
    return found


def _why(side: Sequence[Judged]) -> set[str]:
    """Return why runs were not a pass, without the figures in it: these are in the table."""
    counted: Counter[str] = Counter()
    for run in side:
        counted.update({f"{one.invariant}: violated" for one in run.verdict.violations})
        counted.update({_limit(reason) for reason in run.verdict.reasons if not _is_violation(reason, run)})
    return set(counted)


def _is_violation(reason: str, run: Judged) -> bool:
    return any(reason == f"{one.invariant}: {one.what}" for one in run.verdict.violations)


def _limit(reason: str) -> str:
    """Return a reason without its figures: a stream over its limit is the same reason whatever its outage was."""
    subject, colon, rest = reason.partition(": an outage of ")
    return f"{subject}: over its limit" if colon and rest else reason


def _names(side: Sequence[Judged]) -> str:
    return ", ".join(sorted({run.drill for run in side}))
