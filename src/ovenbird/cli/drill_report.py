"""`ovenbird drill report|compare|rejudge|figures`: read finished runs; none of them touches a lab."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ovenbird.cli.output import emit, output_option, table
from ovenbird.model.errors import UserError

if TYPE_CHECKING:
    from ovenbird.drill.judged import Judged
    from ovenbird.drill.record import Meta
    from ovenbird.drill.runs import Run

EXIT = {"pass": 0, "fail": 1, "invalid": 6}
FIGURES = (
    ("outage_ms", "outage of packets"),
    ("path_outage_ms", "of ICMP and UDP"),
    ("lost_ms", "really lost of ICMP and UDP"),
    ("tcp_outage_ms", "of TCP"),
    ("write_outage_ms", "outage of writes"),
    ("nb_outage_ms", "outage of commits in NB"),
    ("return_outage_ms", "outage on return"),
    ("path_return_ms", "on return, of ICMP and UDP"),
    ("lost_return_ms", "on return, really lost"),
    ("back_in_service_ms", "back in service"),
    ("noise_ms", "noise before the fault"),
)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(epilog="Example: ovenbird drill report reports/noop-20260131T093000Z-7")
@click.argument("folder", type=_FOLDER)
@output_option
def report(folder: Path, output: str) -> None:
    """Print the verdict of a finished run, make its page again, say where it is.

    FOLDER is a run's folder, or one with several runs: then the figures of all of them are printed.
    """
    from ovenbird.drill import runs
    from ovenbird.drill.report import render

    found = [render(path) for path in runs.find(folder)]
    if len(found) == 1:
        data = {**_summary(found[0]), **found[0].judged.to_json()}
        emit(data, output, lambda: _one(found[0]))
        return
    emit(several(found), output, lambda: several_text(found))


@click.command(epilog="Example: ovenbird drill compare reports/before reports/after")
@click.argument("before", type=_FOLDER)
@click.argument("after", type=_FOLDER)
@output_option
def compare(before: Path, after: Path, output: str) -> None:
    """Lay two runs, or two folders of repeats, side by side.

    Differences within the noise of the machine are marked: they mean nothing. Folders with several drills are compared
    drill by drill.
    """
    from ovenbird.drill import runs
    from ovenbird.drill.compare import compare as compared

    sides = [_by_drill(runs.open_all(folder)) for folder in (before, after)]
    if all(len(side) == 1 for side in sides):
        result = compared(*(next(iter(side.values())) for side in sides)).to_json()
        emit(result, output, lambda: _comparison(result))
        return
    both = [name for name in sides[0] if name in sides[1]]
    data: dict[str, Any] = {
        "drills": {name: compared(sides[0][name], sides[1][name]).to_json() for name in both},
        "only_before": [name for name in sides[0] if name not in both],
        "only_after": [name for name in sides[1] if name not in both],
    }
    emit(data, output, lambda: _comparisons(data))


@click.command(
    epilog="""\b
Exit codes, by today's rules: 0 pass (or failed as expected), 1 fail, 6 invalid.
Example: ovenbird drill rejudge reports/noop-20260131T093000Z-7
"""
)
@click.argument("folder", type=_FOLDER)
@output_option
def rejudge(folder: Path, output: str) -> None:
    """Judge a finished run by today's rules, and say what changed.

    The record stays as it is; its verdict and its page are written anew.
    """
    from ovenbird.drill import runs
    from ovenbird.drill.catalogue import BY_NAME
    from ovenbird.drill.compare import compare as compared
    from ovenbird.drill.report import rejudge as judged_anew

    name = runs.open_record(folder).meta.drill
    if name not in BY_NAME:
        raise UserError(f"today's catalogue has no drill {name}", code="no_drill", hint="see `ovenbird drill list`")
    before, after = judged_anew(folder, BY_NAME[name])
    data: dict[str, Any] = {"before": before.outcome.value if before else None, "after": after.outcome.value}
    data["reasons"] = list(after.verdict.reasons)
    if before:
        changes = compared([before], [after]).to_json()
        moved = [one for one in changes["figures"] if one["before"] != one["after"]]
        data |= {"appeared": changes["appeared"], "gone": changes["gone"], "figures": moved}
    emit(data, output, lambda: _rejudged(data))
    click.get_current_context().exit(0 if after.is_expected else EXIT[after.outcome.value])


@click.command(epilog="Example: ovenbird drill figures reports --into docs")
@click.argument("folders", metavar="FOLDER...", nargs=-1, required=True, type=_FOLDER)
@click.option(
    "--into", type=_FOLDER, default=Path("docs"), show_default=True, help="Where figures.json and figures.md are."
)
@output_option
def figures(folders: tuple[Path, ...], into: Path, output: str) -> None:
    """Publish the figures of finished runs: figures.json and the page made from it.

    The drills that these runs measured get new rows; the other rows stay as they are.
    """
    from ovenbird.drill import figures as published
    from ovenbird.drill import runs
    from ovenbird.drill.catalogue import DRILLS

    # What a live cluster showed is its operator's, and not to be laid beside figures of labs.
    found = [run for folder in folders for run in runs.open_all(folder) if not run.meta.live]
    new = published.measured([(run.meta, run.judged) for run in found])
    source = into / "figures.json"
    try:
        existing = json.loads(source.read_text(encoding="utf-8")) if source.exists() else {}
    except ValueError as error:
        raise UserError(f"{source} is no JSON: {error}", code="bad_figures", subject=str(source)) from error
    merged = published.merge(existing, new)
    source.write_text(json.dumps(merged, indent=1) + "\n", encoding="utf-8")
    page = into / "figures.md"
    page.write_text(published.markdown(merged, order=[drill.name for drill in DRILLS]), encoding="utf-8")
    data = {"page": str(page), "measured": sorted(new["drills"]), "rows": len(merged["drills"])}
    emit(data, output, lambda: f"{page}: {len(new['drills'])} of {data['rows']} rows measured by {len(found)} runs")


@click.command(epilog="Example: ovenbird drill goals reports/gateway-figures --todo --repeat 20 --stock 5")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--todo", is_flag=True, help="Print what is still to be run, one line each, instead of writing the page.")
@click.option(
    "--repeat", type=click.IntRange(1), default=20, show_default=True, help="Runs that each drill should have."
)
@click.option("--stock", type=click.IntRange(0), default=5, show_default=True, help="The same, of stock OVN.")
@click.option(
    "--into", type=_FOLDER, default=Path("docs"), show_default=True, help="Where gateway-figures.md is written."
)
@output_option
def goals(folder: Path, todo: bool, repeat: int, stock: int, into: Path, output: str) -> None:
    """Lay the figures of gateways beside what they are meant to be.

    FOLDER holds the runs; with --todo it may be empty, and lines are LAB DRILL ours|stock RUNS SECONDS.
    """
    from ovenbird.drill import figures as published
    from ovenbird.drill import goals as aims
    from ovenbird.drill import runs
    from ovenbird.drill.catalogue import chosen

    found = runs.glance(folder)
    if found and not todo:
        found = runs.open_all(folder)
    measured = published.measured([(run.meta, run.judged) for run in found])
    if todo:
        drills = chosen(list(dict.fromkeys(goal.drill for goal in aims.GOALS)))
        lines = [
            {
                "lab": f"{one.drill.needs.centrals}-{one.drill.needs.gateways}-{one.drill.needs.computes}",
                "drill": one.drill.name,
                "side": "stock" if one.baseline else "ours",
                "runs": one.runs,
                "expected_s": round(one.expected_s),
            }
            for one in aims.todo(measured, drills, repeat=repeat, stock=stock)
        ]
        emit({"todo": lines}, output, lambda: "\n".join(" ".join(map(str, one.values())) for one in lines))
        return
    page = into / "gateway-figures.md"
    page.write_text(aims.markdown(measured), encoding="utf-8")
    emit({"page": str(page), "runs": len(found)}, output, lambda: f"{page}: {len(found)} runs")


def _by_drill(found: Sequence[Run]) -> dict[str, list[Judged]]:
    """Return the verdicts of each drill, stock OVN's apart."""
    groups: dict[str, list[Judged]] = {}
    for run in found:
        groups.setdefault(_title(run), []).append(run.judged)
    return groups


def _title(run: Run) -> str:
    return f"{run.judged.drill}{' (baseline)' if run.meta.baseline else ''}"


def _summary(run: Run) -> dict[str, Any]:
    from ovenbird.drill.runs import PAGE

    meta: Meta = run.meta
    return {"seed": meta.seed, "baseline": meta.baseline, "folder": str(run.folder), "page": str(run.folder / PAGE)}


def _one(run: Run) -> str:
    judged: Judged = run.judged
    data = judged.to_json()
    limits = {
        "outage_ms": judged.packet_limit_ms,
        "write_outage_ms": judged.write_limit_ms,
        "nb_outage_ms": judged.nb_limit_ms,
        "return_outage_ms": judged.return_limit_ms,
    }
    lines = [f"{judged.drill}: {judged.outcome.value.upper()}  (seed {run.meta.seed})"]
    lines += [f"  {reason}" for reason in judged.verdict.reasons]
    if judged.is_expected:
        lines.append(f"  expected today: {judged.expected_failure}")
    rows = [[noun, _ms(data[key]), _ms(limits.get(key))] for key, noun in FIGURES]
    lines += ["", table(["figure", "measured", "limit"], rows)]
    states = [one.state for one in judged.invariants]
    counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    lines += ["", f"invariants: {counted or 'none asked for'}", f"page: {_summary(run)['page']}"]
    return "\n".join(lines)


def several(found: Sequence[Run]) -> dict[str, Any]:
    """Return the figures of several runs, by drill, and where each run is."""
    from ovenbird.drill.repeats import repeats

    groups: dict[str, list[Run]] = {}
    for run in found:
        groups.setdefault(_title(run), []).append(run)
    return {
        "drills": {name: repeats([run.judged.verdict for run in group]).to_json() for name, group in groups.items()},
        "runs": [{**_summary(run), "drill": run.judged.drill, "outcome": run.judged.outcome.value} for run in found],
    }


def several_text(found: Sequence[Run]) -> str:
    """Return the same for people."""
    data = several(found)
    rows = []
    for name, one in data["drills"].items():
        counted = ", ".join(f"{count} {word}" for word, count in one["outcomes"].items() if count)
        sides = (one["outage_ms"], one["path_outage_ms"], one["write_outage_ms"])
        cells = [_ms((side or {}).get(part)) for side in sides for part in ("p50", "p95", "worst")]
        rows.append([name, counted, *cells, _ms((one["noise_ms"] or {}).get("worst"))])
    parts = ("p95", "worst")
    heads = ["drill", "runs", "outage p50", *parts, "icmp, udp p50", *parts, "writes p50", *parts, "noise"]
    pages = [f"  {run['outcome']:<8}{run['page']}" for run in data["runs"]]
    return "\n".join([table(heads, rows), "", *pages])


def _comparison(data: dict[str, Any]) -> str:
    outcomes = [", ".join(f"{count} {word}" for word, count in side.items() if count) for side in data["outcomes"]]
    rows = [["outcome", *outcomes, "", ""]]
    rows += [
        [
            one["figure"].replace("_ms", "").replace("_", " "),
            _ms(one["before"]),
            _ms(one["after"]),
            "" if one["ratio"] is None else f"{one['ratio']:.2f}",
            "within the noise" if one["within_noise"] else "",
        ]
        for one in data["figures"]
    ]
    lines = [table(["", "before", "after", "ratio", "note"], rows)]
    for key, noun in (("appeared", "appeared"), ("gone", "gone")):
        lines += ["", *(f"{noun}: {what}" for what in data[key])] if data[key] else []
    if data["drills"][0] != data["drills"][1]:
        lines += ["", f"different drills: {data['drills'][0]} and {data['drills'][1]}"]
    return "\n".join(lines)


def _comparisons(data: dict[str, Any]) -> str:
    parts = [f"{name}\n{_comparison(one)}" for name, one in data["drills"].items()]
    parts += [f"only before: {', '.join(data['only_before'])}"] if data["only_before"] else []
    parts += [f"only after: {', '.join(data['only_after'])}"] if data["only_after"] else []
    return "\n\n".join(parts)


def _rejudged(data: dict[str, Any]) -> str:
    before, after = data["before"] or "unreadable", data["after"]
    lines = [f"{before.upper()} -> {after.upper()}" if before != after else f"{after.upper()}, as before"]
    lines += [f"  {reason}" for reason in data["reasons"]]
    lines += [f"appeared: {what}" for what in data.get("appeared", [])]
    lines += [f"gone: {what}" for what in data.get("gone", [])]
    lines += [f"{one['figure']}: {_ms(one['before'])} -> {_ms(one['after'])}" for one in data.get("figures", [])]
    return "\n".join(lines)


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} ms"
