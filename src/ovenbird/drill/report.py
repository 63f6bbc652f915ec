"""Writes the folder of a run: the record, its verdict, the daemons' logs of that time, and the page for people.

The record is written first and read back at once: if anything was lost on the way, there is no report but an error.
This module must never judge, and never write outside the run's folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from ovenbird import __version__
from ovenbird.drill import environment, record, report_html, runs
from ovenbird.drill.integrity import differences, totals
from ovenbird.drill.judge import Verdict, judge
from ovenbird.drill.judged import Judged, judged
from ovenbird.drill.log_excerpt import excerpt
from ovenbird.drill.record import Meta, RunRecord
from ovenbird.drill.runs import Run
from ovenbird.drill.script import Drill
from ovenbird.lab.lab import Lab
from ovenbird.model.errors import Bug, UserError

NS_PER_S = 1_000_000_000


def folder_name(meta: Meta) -> str:
    """Return the name of a run's folder: `DRILL-UTCTIME-SEED`, with `baseline` in it if that is what was measured."""
    when = datetime.fromtimestamp(meta.started_ns // NS_PER_S, UTC).strftime("%Y%m%dT%H%M%SZ")
    kind = "-baseline" if meta.baseline else "-live" if meta.live else ""
    return f"{meta.drill}{kind}-{when}-{meta.seed}"


def lab_logs(lab: Lab) -> dict[str, Path]:
    """Return every daemon's log of a lab by "NODE/DAEMON", also of nodes that are off."""
    return {f"{name}/{daemon}": path for name, node in lab.nodes.items() for daemon, path in node.logs().items()}


def write_report(
    folder: Path, run: RunRecord, drill: Drill, verdict: Verdict, *, logs: Mapping[str, Path] | None = None
) -> Judged:
    """Write a run's whole folder and return the verdict with its rules.

    `logs` is "NODE/DAEMON" -> log file (see `lab_logs`). Versions and machine are filled in if the record lacks them.
    Raises `Bug` when what was written is not what was recorded.
    """
    meta, drill = run.meta, drill.on(run)
    meta = replace(
        meta,
        versions=dict(meta.versions or environment.versions()),
        machine=dict(meta.machine or environment.machine()),
    )
    run = replace(run, meta=meta)
    recorded = totals(run)
    record.save(run, folder)
    _write(folder / runs.TOTALS, json.dumps(recorded, indent=1) + "\n")
    wrong = differences(recorded, totals(record.load(folder)))
    if wrong:
        raise Bug("the report does not hold what was recorded", subject=str(folder), evidence="; ".join(wrong))
    for name, log in sorted((logs or {}).items()):
        _write(folder / "logs" / f"{name}.log", excerpt(log, meta.started_ns, meta.ended_ns))
    result = judged(run, drill, verdict, checker=__version__)
    _conclude(folder, run, result)
    return result


def render(folder: Path) -> Run:
    """Make a run's page again from its files, with the verdict it was given; raises as `runs.open_record`."""
    run, verdict = runs.open_record(folder), runs.open_verdict(folder)
    _write(folder / runs.PAGE, report_html.page(run, verdict))
    return Run(folder=folder, meta=run.meta, judged=verdict)


def rejudge(folder: Path, drill: Drill) -> tuple[Judged | None, Judged]:
    """Judge an old run by today's rules, write verdict and page anew; return the verdicts before and after.

    The one before is None if it could not be read. Raises as `runs.open_record`.
    """
    run = runs.open_record(folder)
    drill = drill.on(run)
    try:
        before = runs.open_verdict(folder)
    except UserError:
        before = None
    after = judged(run, drill, judge(run, drill.expect), checker=__version__)
    _conclude(folder, run, after)
    return before, after


def _conclude(folder: Path, run: RunRecord, result: Judged) -> None:
    _write(folder / runs.VERDICT, json.dumps(result.to_json(), indent=1) + "\n")
    _write(folder / runs.PAGE, report_html.page(run, result))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
