"""The folders of finished runs: opened only if they are whole, alone or as repeats of one drill.

This module must never change a folder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ovenbird.drill.integrity import differences, totals
from ovenbird.drill.judged import Judged
from ovenbird.drill.record import RunRecord, load
from ovenbird.model.errors import Refused, UserError

RUN, TOTALS, VERDICT, PAGE = "run.json", "totals.json", "verdict.json", "index.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One finished run."""

    folder: Path
    record: RunRecord
    judged: Judged


def find(folder: Path) -> list[Path]:
    """Return the runs of a folder, by name: itself, or those right below it. Raises `UserError` if there is none."""
    if (folder / RUN).is_file():
        return [folder]
    found = sorted(path.parent for path in folder.glob(f"*/{RUN}"))
    if not found:
        raise UserError(
            f"{folder} holds no run of a drill",
            code="no_run",
            subject=str(folder),
            hint=f"a run's folder has a {RUN}; `ovenbird drill run` makes one under reports/",
        )
    return found


def open_record(folder: Path) -> RunRecord:
    """Read a record back.

    Raises `UserError` for files that are missing or are no JSON, and `Refused` if the folder holds anything else than
    was recorded: a judgement on a record that lost a write would be worth nothing.
    """
    try:
        record = load(folder)
        kept = json.loads((folder / TOTALS).read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"this run cannot be read: {type(error).__name__}: {error}", code="bad_run", subject=str(folder)
        ) from error
    wrong = differences(kept, totals(record))
    if wrong:
        raise Refused(
            "this run is not whole: it proves nothing",
            code="damaged_run",
            subject=str(folder),
            evidence="; ".join(wrong),
            hint="repeat it with its seed, or restore the folder from where it was copied",
        )
    return record


def open_run(folder: Path) -> Run:
    """Read a run and the verdict that it was given; raises as `open_record`."""
    record = open_record(folder)
    try:
        data = json.loads((folder / VERDICT).read_text(encoding="utf-8"))
        return Run(folder=folder, record=record, judged=Judged.from_json(data))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"this run's verdict cannot be read: {type(error).__name__}: {error}",
            code="bad_run",
            subject=str(folder),
            hint=f"ovenbird drill rejudge {folder}",
        ) from error


def open_all(folder: Path) -> Sequence[Run]:
    """Read every run of a folder; raises as `find` and `open_run`."""
    return [open_run(path) for path in find(folder)]
