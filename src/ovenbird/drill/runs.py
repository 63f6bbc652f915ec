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
from ovenbird.drill.record import Meta, RunRecord, load, load_meta
from ovenbird.model.errors import Refused, UserError

RUN, TOTALS, VERDICT, PAGE = "run.json", "totals.json", "verdict.json", "index.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One finished run."""

    folder: Path
    meta: Meta
    judged: Judged


def find(folder: Path) -> list[Path]:
    """Return the runs of a folder, by name: itself, or those right below it. Raises `UserError` if there is none."""
    if (folder / RUN).is_file():
        return [folder]
    found = _below(folder)
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
        raise _unreadable(folder, error) from error
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


def open_all(folder: Path) -> Sequence[Run]:
    """Read every run of a folder, each record only to see that it is whole; raises as `find` and `open_record`."""
    return [Run(folder=path, meta=open_record(path).meta, judged=open_verdict(path)) for path in find(folder)]


def glance(folder: Path) -> Sequence[Run]:
    """Read what the runs of a folder, if any, were found to be, without their records: enough to count them."""
    return [Run(folder=path, meta=_meta(path), judged=open_verdict(path)) for path in _below(folder)]


def _below(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob(f"*/{RUN}"))


def _meta(folder: Path) -> Meta:
    try:
        return load_meta(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unreadable(folder, error) from error


def open_verdict(folder: Path) -> Judged:
    """Read the verdict that a run was given; raises `UserError` where there is none, or no readable one."""
    try:
        return Judged.from_json(json.loads((folder / VERDICT).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"this run's verdict cannot be read: {type(error).__name__}: {error}",
            code="bad_run",
            subject=str(folder),
            hint=f"ovenbird drill rejudge {folder}",
        ) from error


def _unreadable(folder: Path, error: Exception) -> UserError:
    return UserError(f"this run cannot be read: {type(error).__name__}: {error}", code="bad_run", subject=str(folder))
