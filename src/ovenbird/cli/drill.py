"""`ovenbird drill list|run|heal`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ovenbird.cli.drill_report import compare, figures, rejudge, report
from ovenbird.cli.lab_name import opened
from ovenbird.cli.output import emit, output_option, rendered, say, table
from ovenbird.model.errors import OvenbirdError

if TYPE_CHECKING:
    from ovenbird.drill.judged import Judged
    from ovenbird.drill.record import RunRecord
    from ovenbird.drill.script import Drill

EXIT = {"pass": 0, "fail": 1, "invalid": 6}
REPORTS = Path("reports")


@click.group()
def drill() -> None:
    """Break things on purpose and measure."""


@drill.command("list", epilog="Example: ovenbird drill list -o json")
@output_option
def list_(output: str) -> None:
    """List the drills, and the faults that this machine cannot inject."""
    from ovenbird.drill.catalogue import DRILLS
    from ovenbird.drill.fault import UNAVAILABLE

    data = {
        "drills": [
            {
                "name": one.name,
                "what": one.what,
                "needs": {
                    "centrals": one.needs.centrals,
                    "gateways": one.needs.gateways,
                    "computes": one.needs.computes,
                },
                "safe_live": one.is_safe_live,
                "baseline": one.has_baseline,
                "expected_failure": one.expected_failure,
            }
            for one in DRILLS
        ],
        "unavailable_faults": dict(UNAVAILABLE),
    }
    emit(data, output, lambda: _listed(data))


def _listed(data: dict[str, Any]) -> str:
    rows = [
        [one["name"], "yes" if one["safe_live"] else "no", "yes" if one["baseline"] else "no", one["what"]]
        for one in data["drills"]
    ]
    lines = [table(["name", "safe live", "baseline", "what"], rows)]
    lines += [
        f"  {one['name']} is expected to fail: {one['expected_failure']}"
        for one in data["drills"]
        if one["expected_failure"]
    ]
    lines += ["", "Faults that this machine cannot inject:"]
    lines += [f"  {kind}: {reason}" for kind, reason in data["unavailable_faults"].items()]
    return "\n".join(lines)


@drill.command(
    epilog="""\b
Exit codes: 0 pass (or failed as expected), 1 fail, 6 invalid (the run proves nothing).
Example: ovenbird --lab demo drill run gateway-crash --repeat 5 -o json
"""
)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--seed", type=int, help="Repeat a run: the phase of the fault and every choice follow from the seed.")
@click.option("--repeat", default=1, show_default=True, help="Run each drill so many times.")
@click.option(
    "--baseline", is_flag=True, help="Measure stock OVN: our agents and controllers stopped, BFD at its defaults."
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
    baseline: bool,
    reports: Path,
    junit: Path | None,
    output: str,
) -> None:
    """Run drills on a lab and print what a workload saw; "all" is the whole catalogue.

    A drill declares a network of its own (objects named drill-...), attaches workloads, and takes all of it away
    afterwards. What an earlier run left broken is healed first.
    """
    from ovenbird.drill.catalogue import chosen
    from ovenbird.drill.junit import junit as junit_text

    lab = opened(None)
    wanted = [one for one in chosen(names) if one.has_baseline or not baseline or "all" not in names]
    done: list[tuple[Drill, RunRecord, Judged, Path]] = []
    broken: list[OvenbirdError] = []
    for one in [each for each in wanted for _ in range(repeat)]:
        try:
            done.append(_once(lab.name, one, seed, baseline, reports))
            say(f"  {one.name}: {done[-1][2].outcome.value}")
        except OvenbirdError as error:  # the others must still run
            broken.append(error)
            say(rendered(error))
    if broken and not done:
        raise broken[0]
    if junit:
        junit.write_text(junit_text([(record.meta, judged) for _, record, judged, _ in done]), encoding="utf-8")
    data = [_data(one, record, judged, folder) for one, record, judged, folder in done]
    emit(data[0] if len(data) == 1 else {"runs": data}, output, lambda: "\n\n".join(_rendered(each) for each in data))
    worst = max(_exit(one, judged) for one, _, judged, _ in done)
    click.get_current_context().exit(worst or (broken[0].exit_status if broken else 0))


def _once(
    lab: str, one: Drill, seed: int | None, baseline: bool, reports: Path
) -> tuple[Drill, RunRecord, Judged, Path]:
    from ovenbird.drill import runner
    from ovenbird.drill.judge import judge
    from ovenbird.drill.report import folder_name, lab_logs, write_report

    record = asyncio.run(
        runner.run(opened(lab), one, seed=seed, baseline=baseline, progress=lambda what: say(f"  {what}"))
    )
    verdict = judge(record, one.expect)
    folder = reports / folder_name(record.meta)
    return one, record, write_report(folder, record, one, verdict, logs=lab_logs(opened(lab))), folder


def _exit(one: Drill, judged: Judged) -> int:
    return 0 if one.expected_failure and judged.verdict.outcome.value == "fail" else EXIT[judged.verdict.outcome.value]


def _data(one: Drill, record: RunRecord, judged: Judged, folder: Path) -> dict[str, Any]:
    return {
        "name": one.name,
        "seed": record.meta.seed,
        "baseline": record.meta.baseline,
        **judged.verdict.to_json(),
        "detect_limit_ms": record.meta.detect_limit_ms,
        "expected_failure": one.expected_failure,
        "timeline": [
            {"at_ms": round((event.at_ns - record.fault_ns) / 1e6, 1), "kind": event.kind, "what": event.what}
            for event in record.timeline
        ],
        "report": str(folder),
    }


def _spreading(data: dict[str, Any]) -> list[str]:
    """Return the line on flows that are spread over gateways, if there were such flows."""
    met = data.get("spreading")
    if not met:
        return []
    felt = f"{met['felt']} of {met['flows']} spread flows felt it"
    return [f"  the other gateway's flows   {met['spared_outage_ms']:.0f} ms  ({felt})"]


def _rendered(data: dict[str, Any]) -> str:
    def ms(value: float | None) -> str:
        return "-" if value is None else f"{value:.0f} ms"

    expected = " (as expected)" if data["expected_failure"] and data["outcome"] == "fail" else ""
    lines = [f"{data['name']}{' (stock OVN)' if data['baseline'] else ''}: {data['outcome'].upper()}{expected}"]
    lines += [f"  {reason}" for reason in data["reasons"]]
    lines += [
        f"  outage seen by a workload   {ms(data['outage_ms'])}  (detection alone takes {ms(data['detect_limit_ms'])})",
        f"  without acknowledged write  {ms(data['write_outage_ms'])}",
        f"  without a write in NB       {ms(data['nb_outage_ms'])}",
        *_spreading(data),
        f"  outage when it came back    {ms(data['return_outage_ms'])}",
        f"  back in service             {ms(data['back_in_service_ms'])} after the fault",
        f"  noise before the fault      {ms(data['noise_ms'])}  (largest gap with nothing broken)",
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
def heal() -> None:
    """Heal what a run that was killed left broken, and take its stage away."""
    from ovenbird.drill.lab_api import LabApi
    from ovenbird.drill.runner import heal_leftovers

    lab = opened(None)
    heal_leftovers(lab, LabApi(lab), say)


for _command in (report, compare, rejudge, figures):
    drill.add_command(_command)
