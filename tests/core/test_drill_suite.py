"""A series of drills: which runs are made again, what is counted, what there is no time for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.core.run_records import record

from ovenbird.drill import suite as suites
from ovenbird.drill.catalogue import BY_NAME
from ovenbird.drill.record import RunRecord
from ovenbird.drill.script import Drill
from ovenbird.drill.suite import Suite
from ovenbird.model.errors import OvenbirdError, Timeout

CRASH, NOOP = BY_NAME["gateway-crash"], BY_NAME["noop"]


class Audience:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.numbers: list[tuple[int, int]] = []
        self.outcomes: list[str] = []

    def begins(self, _drill: Drill, *, number: int, of: int) -> None:
        self.numbers.append((number, of))

    def tell(self, _what: str) -> None:
        """Nothing is told here."""

    def ended(self, _drill: Drill, outcome: str, _reasons: Sequence[str]) -> None:
        self.outcomes.append(outcome.split(" after", maxsplit=1)[0])


class Scene:
    """Stands in for a stage on a lab; what is tested here begins after a run has given its record."""

    def __init__(self, *_: Any) -> None:
        return None

    async def close(self) -> list[str]:
        return []


def series(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Sequence[RunRecord | OvenbirdError], **how: Any
) -> Suite:
    """A suite whose runs give these records and errors, one after the other."""
    coming: Iterator[RunRecord | OvenbirdError] = iter(made)

    async def run(*_: Any, **__: Any) -> RunRecord:
        given = next(coming)
        if isinstance(given, OvenbirdError):
            raise given
        return given

    monkeypatch.setattr(suites.runner, "run", run)
    monkeypatch.setattr(suites, "Scene", Scene)
    lab: Any = SimpleNamespace(nodes={})
    return Suite(lab=lab, reports=tmp_path, audience=Audience(), **how)


def outcomes(suite: Suite) -> list[tuple[str, bool]]:
    return [(run.judged.outcome.value, run.superseded) for run in suite.finished()]


def test_a_run_that_proves_nothing_is_made_again_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [record(seed=1), record(seed=2, verified=False), Timeout("not healthy"), record(seed=3), record(seed=4)]
    suite = series(tmp_path, monkeypatch, runs, repeat=3, retries=2)
    asyncio.run(suite.run([CRASH]))
    assert outcomes(suite) == [("pass", False), ("invalid", True), ("pass", False), ("pass", False)]
    assert [error.message for _drill, error in suite.broken] == ["not healthy"]
    audience = suite.audience
    assert isinstance(audience, Audience)
    assert audience.numbers == [(1, 3), (2, 3), (3, 4), (4, 5), (5, 5)]
    assert audience.outcomes == ["pass", "invalid", "not run", "pass", "pass"]
    assert sorted(path.name.rpartition("-")[2] for path in tmp_path.iterdir()) == ["1", "2", "3", "4"]


def test_runs_are_made_again_only_so_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [record(seed=seed, verified=False) for seed in range(1, 5)]
    suite = series(tmp_path, monkeypatch, [*runs, record(seed=9)], repeat=2, retries=2)
    asyncio.run(suite.run([CRASH]))
    assert outcomes(suite) == [("invalid", False)] * 4


def test_no_run_is_begun_that_would_end_too_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = series(tmp_path, monkeypatch, [record()], within_s=NOOP.expected_s + 1)
    assert CRASH.expected_s > NOOP.expected_s + 1
    asyncio.run(suite.run([CRASH, NOOP]))
    assert [drill.name for drill in suite.left_out] == ["gateway-crash"]
    assert [run.drill.name for run in suite.finished()] == ["noop"]
