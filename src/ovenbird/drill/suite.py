"""Runs drill after drill on one lab: one stage for all, each run's report written while the next one is prepared.

A run that proves nothing is made again a few times, and counted; one that cannot be made at all (the cluster does not
become healthy, say) is told and does not stop the others. This module must never change what a run recorded.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ovenbird.drill import runner
from ovenbird.drill.judge import Outcome, Verdict, judge
from ovenbird.drill.judged import Judged
from ovenbird.drill.record import Meta, RunRecord
from ovenbird.drill.report import folder_name, lab_logs, write_report
from ovenbird.drill.scene import Scene
from ovenbird.drill.script import Drill
from ovenbird.lab.lab import Lab
from ovenbird.model.errors import OvenbirdError

REPORT_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """One run that was made, judged and reported."""

    drill: Drill
    record: RunRecord
    judged: Judged
    folder: Path
    superseded: bool = False
    """Whether it proved nothing and others were made in its place."""

    @property
    def meta(self) -> Meta:
        """What was run."""
        return self.record.meta


class Audience(Protocol):
    """Who is told what goes on."""

    def begins(self, drill: Drill, *, number: int, of: int) -> None:
        """Tell that a run begins; `number` of `of` runs, those included that are made again."""

    def tell(self, what: str) -> None:
        """Tell a line of the run."""

    def ended(self, drill: Drill, outcome: str, reasons: Sequence[str]) -> None:
        """Tell what came of a run."""


@dataclass(slots=True)
class _Pending:
    drill: Drill
    record: RunRecord
    verdict: Verdict
    folder: Path
    written: Future[Judged]


@dataclass(slots=True)
class Suite:
    """Drills on one lab."""

    lab: Lab
    reports: Path
    audience: Audience
    repeat: int = 1
    retries: int = 2
    """How often each drill may be run again because a run was invalid or could not be made."""
    seed: int | None = None
    baseline: bool = False
    within_s: float | None = None
    """No run is begun that would probably end later than this after the first."""
    broken: list[tuple[Drill, OvenbirdError]] = field(default_factory=list)
    """Runs that could not be made."""
    left_out: list[Drill] = field(default_factory=list)
    """Drills for which there was no time."""
    left: list[str] = field(default_factory=list)
    """What was left behind when the stage was taken away."""
    _pending: list[_Pending] = field(default_factory=list)

    async def run(self, drills: Sequence[Drill]) -> None:
        """Run every drill as often as asked; afterwards, also after Ctrl-C, nothing is broken and the stage is gone."""
        scene = Scene(self.lab, self.audience.tell)
        # A process of its own: a page takes a second of computing, which must not fall into the next run's watching.
        writer = ProcessPoolExecutor(1, multiprocessing.get_context("forkserver"), initializer=_deaf)
        began_s, number, total = time.monotonic(), 0, len(drills) * self.repeat
        try:
            for drill in drills:
                wanted, again = self.repeat, self.retries
                while wanted > 0:
                    if self.within_s is not None and time.monotonic() - began_s + drill.expected_s > self.within_s:
                        self.left_out.append(drill)
                        break
                    number += 1
                    self.audience.begins(drill, number=number, of=total)
                    if await self._once(drill, scene, writer) or not again:
                        wanted -= 1
                    else:
                        again -= 1
                        total += 1
        finally:
            try:
                with contextlib.suppress(OvenbirdError):
                    self.left = await scene.close()
            finally:
                writer.shutdown()

    def finished(self) -> list[Finished]:
        """Return every run that was made, in order; waits for reports that are still being written."""
        runs = [
            Finished(
                drill=one.drill,
                record=one.record,
                judged=one.written.result(REPORT_TIMEOUT_S),
                folder=one.folder,
                superseded=self._superseded(one),
            )
            for one in self._pending
        ]
        return runs

    async def _once(self, drill: Drill, scene: Scene, writer: ProcessPoolExecutor) -> bool:
        """Run a drill once; return whether it proved anything."""
        began_s = time.monotonic()
        try:
            record = await runner.run(
                self.lab,
                drill,
                seed=self.seed,
                baseline=self.baseline,
                progress=self.audience.tell,
                scene=scene,
            )
        except OvenbirdError as error:  # the others must still run
            self.broken.append((drill, error))
            self.audience.ended(drill, "not run", [str(error), error.evidence])
            return False
        verdict = judge(record, drill.expect)
        folder = self.reports / folder_name(record.meta)
        written = writer.submit(write_report, folder, record, drill, verdict, logs=lab_logs(self.lab))
        self._pending.append(_Pending(drill, record, verdict, folder, written))
        outcome = f"{verdict.outcome.value} after {time.monotonic() - began_s:.0f} s"
        self.audience.ended(drill, outcome, verdict.reasons)
        return verdict.outcome is not Outcome.INVALID

    def _superseded(self, one: _Pending) -> bool:
        if one.verdict.outcome is not Outcome.INVALID:
            return False
        alike = [other.verdict.outcome for other in self._pending if other.drill == one.drill]
        return sum(outcome is not Outcome.INVALID for outcome in alike) >= self.repeat


def _deaf() -> None:
    """Ctrl-C is for the runner: a report that was begun is finished."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
