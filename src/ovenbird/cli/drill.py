"""`ovenbird drill run|heal`, and where the other drill commands hang."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ovenbird.cli.drill_list import describe, list_
from ovenbird.cli.drill_live import heal_live, run_live
from ovenbird.cli.drill_report import compare, figures, goals, rejudge, report
from ovenbird.cli.lab_name import opened
from ovenbird.cli.output import emit, output_option, say, table
from ovenbird.model.errors import UserError

if TYPE_CHECKING:
    from ovenbird.drill.script import Drill
    from ovenbird.drill.suite import Finished, Suite

EXIT = {"pass": 0, "fail": 1, "invalid": 6}
REPORTS = Path("reports")


@click.group()
def drill() -> None:
    """Break things on purpose and measure."""


@drill.command(
    epilog="""\b
Exit codes: 0 pass (or failed as expected), 1 fail, 6 invalid (the run proves nothing).
Example: ovenbird --lab demo drill run gateway-crash --repeat 5 -o json
"""
)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--seed", type=int, help="Repeat a run: the phase of the fault and every choice follow from the seed.")
@click.option("--repeat", type=click.IntRange(1), default=1, show_default=True, help="Run each drill so many times.")
@click.option(
    "--retries",
    type=click.IntRange(0),
    help="Run a drill again, at most so many times, when a run is invalid.  [default: 2, and one for each 5 repeats]",
)
@click.option(
    "--baseline", is_flag=True, help="Measure stock OVN: our agents and controllers stopped, BFD at its defaults."
)
@click.option("--live", is_flag=True, help="Run safe drills on the cluster that this host belongs to, not on a lab.")
@click.option(
    "--stream",
    "streams",
    multiple=True,
    metavar="WORKLOAD=ADDRESS",
    help="With --live: ping it from a workload of this host, or from `host` itself.  [default: what there is]",
)
@click.option("--gateway", default="", help="With --live: the gateway that is drained.")
@click.option(
    "--within",
    "within_s",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Begin no run that would probably end later than this.",
)
@click.option(
    "--reports", type=click.Path(path_type=Path), default=REPORTS, show_default=True, help="Where run folders go."
)
@click.option("--junit", type=click.Path(path_type=Path), help="Write a JUnit file as well.")
@output_option
def run(
    names: tuple[str, ...],
    seed: int | None,
    repeat: int,
    retries: int | None,
    baseline: bool,
    live: bool,
    streams: tuple[str, ...],
    gateway: str,
    within_s: float | None,
    reports: Path,
    junit: Path | None,
    output: str,
) -> None:
    """Run drills on a lab and print what a workload saw; "all" is the whole catalogue.

    A drill declares a network of its own (objects named drill-...), attaches workloads, and takes all of it away
    afterwards. What an earlier run left broken is healed first.

    With --live it declares and attaches nothing: it pings what this host's workloads reach, and does only what
    operators do daily. It is refused unless the cluster is healthy.
    """
    if live:
        done = run_live(names, streams=streams, gateway=gateway, seed=seed, repeat=repeat, reports=reports)
        _report(done, junit, output)
        click.get_current_context().exit(_status(done))
    if streams or gateway:
        raise UserError("--stream and --gateway are for --live", hint="on a lab a drill brings its own workloads")
    wanted = _wanted(names, baseline)
    again = 2 + repeat // 5 if retries is None else retries
    how = {"reports": reports, "seed": seed, "baseline": baseline, "within_s": within_s}
    done, suite = _series(wanted, repeat=repeat, retries=again, **how)
    _report(done, junit, output)
    click.get_current_context().exit(_status(done, suite))


def _wanted(names: Sequence[str], baseline: bool) -> list[Drill]:
    """Return the drills that were named; those of the whole catalogue only as far as they have a baseline."""
    from ovenbird.drill.catalogue import chosen
    from ovenbird.drill.runner import require

    lab, everything = opened(None), "all" in names
    wanted = [one for one in chosen(names) if one.has_baseline or not baseline or not everything]
    for one in () if everything else wanted:
        require(lab, one, baseline)
    return wanted


def _series(wanted: Sequence[Drill], *, repeat: int, retries: int, **how: Any) -> tuple[list[Finished], Suite]:
    """Run drills on the lab that is meant, telling how it goes; return the runs."""
    from ovenbird.cli.drill_progress import Progress
    from ovenbird.drill.suite import Suite

    progress = Progress(wanted, repeat)
    suite = Suite(lab=opened(None), audience=progress, repeat=repeat, retries=retries, **how)
    with progress:
        asyncio.run(suite.run(wanted))
    done = suite.finished()
    for thing in suite.left:
        say(f"left behind: {thing}")
    if suite.left_out:
        say(f"no time for: {', '.join(drill.name for drill in suite.left_out)}")
    if suite.broken and not done:
        raise suite.broken[-1][1]
    return done, suite


def _report(done: list[Finished], junit: Path | None, output: str) -> None:
    """Print one run whole; several as JSON each, for people as one table of figures. Write JUnit if asked for."""
    from ovenbird.cli.drill_report import several, several_text
    from ovenbird.drill.junit import junit as junit_text
    from ovenbird.drill.runs import Run

    if junit:
        junit.write_text(junit_text([(run.meta, run.judged, run.superseded) for run in done]), encoding="utf-8")

    data = [_data(run) for run in done]
    if len(data) == 1:
        emit(data[0], output, lambda: _rendered(data[0]))
        return
    runs = [Run(folder=run.folder, meta=run.meta, judged=run.judged) for run in done]
    together = {"runs": data, "drills": several(runs)["drills"]}
    emit(together, output, lambda: several_text(runs))


def _status(done: Sequence[Finished], suite: Suite | None = None) -> int:
    """Return the exit code: what was proven wrong counts most, then what was left unproven."""
    counted = [run for run in done if not run.superseded]
    codes = {EXIT[run.judged.outcome.value] for run in counted if not run.judged.is_expected}
    if (suite and suite.left) or EXIT["fail"] in codes:
        return EXIT["fail"]
    if EXIT["invalid"] in codes or (suite and suite.left_out):
        return EXIT["invalid"]
    proven = {run.drill.name for run in counted}
    return next((error.exit_status for drill, error in (suite.broken if suite else ()) if drill.name not in proven), 0)


def _data(run: Finished) -> dict[str, Any]:
    record, judged = run.record, run.judged
    return {
        "name": run.drill.name,
        "seed": record.meta.seed,
        "baseline": record.meta.baseline,
        **judged.verdict.to_json(),
        "detect_limit_ms": record.meta.detect_limit_ms,
        "computing": {name: dict(one) for name, one in record.meta.computing.items()},
        "expected_failure": run.drill.expected_failure,
        "superseded": run.superseded,
        "phases_s": dict(record.meta.phases_s),
        "timeline": [
            {"at_ms": round((event.at_ns - record.fault_ns) / 1e6, 1), "kind": event.kind, "what": event.what}
            for event in record.timeline
        ],
        "report": str(run.folder),
    }


def _spreading(data: dict[str, Any]) -> list[str]:
    """Return the line on flows that are spread over gateways, if there were such flows."""
    met = data.get("spreading")
    if not met:
        return []
    felt = f"{met['felt']} of {met['flows']} spread flows felt it"
    return [f"  the other gateway's flows   {met['spared_outage_ms']:.0f} ms  ({felt})"]


def _rendered(data: dict[str, Any]) -> str:
    from ovenbird.drill.computing import told

    def ms(value: float | None) -> str:
        return "-" if value is None else f"{value:.0f} ms"

    expected = " (as expected)" if data["expected_failure"] and data["outcome"] == "fail" else ""
    lines = [f"{data['name']}{' (stock OVN)' if data['baseline'] else ''}: {data['outcome'].upper()}{expected}"]
    lines += [f"  {reason}" for reason in data["reasons"]]
    detection = f"  (detection alone takes {ms(data['detect_limit_ms'])})" if data["detect_limit_ms"] else ""
    figures = (
        ("outage_ms", "outage seen by a workload", detection),
        ("path_outage_ms", "of ICMP and UDP", "  (for how long the path was gone)"),
        ("lost_ms", "really lost", "  (ICMP and UDP that never came, in a row)"),
        ("tcp_outage_ms", "of TCP", "  (until its next retransmission)"),
        ("write_outage_ms", "without acknowledged write", ""),
        ("nb_outage_ms", "without a write in NB", ""),
        ("return_outage_ms", "outage when it came back", ""),
        ("path_return_ms", "of ICMP and UDP", ""),
        ("lost_return_ms", "really lost", ""),
        ("back_in_service_ms", "back in service", " after the fault"),
        ("noise_ms", "noise before the fault", "  (largest gap with nothing broken)"),
    )
    lines += [f"  {noun:<27} {ms(data[key])}{note}" for key, noun, note in figures if data[key] is not None]
    lines += [
        *_spreading(data),
        *(f"  {line}" for line in told(data["computing"])),
        "",
        table(
            ["stream", "outage", "on return", "sent", "lost"],
            [
                [name, ms(one["outage_ms"]), ms(one["return_outage_ms"]), int(one["sent"]), int(one["lost"])]
                for name, one in (*data["streams"].items(), *data["calls"].items())
            ],
        ),
        f"  report: {data['report']}/index.html",
    ]
    return "\n".join(lines)


@drill.command(epilog="Example: ovenbird drill heal")
@click.option("--live", is_flag=True, help="On the cluster that this host belongs to, not on a lab.")
def heal(live: bool) -> None:
    """Heal what a run that was killed left broken, and take its stage away."""
    if live:
        heal_live()
        return
    from ovenbird.drill.lab_api import LabApi
    from ovenbird.drill.scene import heal_leftovers

    lab = opened(None)
    heal_leftovers(lab, LabApi(lab), say)


for _command in (list_, describe, report, compare, rejudge, figures, goals):
    drill.add_command(_command)
