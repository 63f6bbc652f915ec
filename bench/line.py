"""The line that a benchmark prints: its figures, its goals, and whether each of them is met."""

from __future__ import annotations

import json
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure of the line must be."""

    key: str
    relation: str
    """"<=" or ">="."""
    bound: float

    def is_met(self, figures: Mapping[str, Any]) -> bool:
        """Whether the figure is so."""
        return bool({"<=": operator.le, ">=": operator.ge}[self.relation](figures[self.key], self.bound))

    def __str__(self) -> str:
        return f"{self.key} {self.relation} {self.bound:g}"


def print_line(figures: Mapping[str, Any], *goals: Goal) -> None:
    """Print the figures as one JSON line, with `goal` in words, `met`, and the goals that are `unmet`."""
    unmet = [str(goal) for goal in goals if not goal.is_met(figures)]
    verdict = {"goal": ", ".join(map(str, goals)), "met": not unmet} | ({"unmet": unmet} if unmet else {})
    print(json.dumps({**figures, **verdict}), flush=True)
