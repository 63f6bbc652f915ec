"""`ovenbird drill list|run`."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from ovenbird.cli.lab_name import opened
from ovenbird.cli.output import emit, output_option, say, table
from ovenbird.cli.servers import Servers

EXIT = {"pass": 0, "fail": 1, "invalid": 6}
CATALOGUE = {
    "gateway-crash": "kill -9 of the active gateway's ovs-vswitchd, under SNAT and floating IP traffic",
}


@click.group()
def drill() -> None:
    """Break things on purpose and measure."""


@drill.command("list", epilog="Example: ovenbird drill list -o json")
@output_option
def list_(output: str) -> None:
    """List the drills."""
    data = {"drills": [{"name": name, "what": what} for name, what in CATALOGUE.items()]}
    emit(data, output, lambda: table(["name", "what"], list(CATALOGUE.items())))


@drill.command(
    epilog="""\b
Exit codes: 0 pass, 1 fail, 6 invalid (the run proves nothing).
Example: ovenbird --lab demo drill run gateway-crash -o json
"""
)
@click.argument("name", type=click.Choice(list(CATALOGUE)))
@click.option("--seed", type=int, help="Repeat a run: the phase of the fault follows from the seed.")
@output_option
def run(name: str, seed: int | None, output: str) -> None:
    """Run one drill on a lab and print what a workload saw.

    The drill declares a network of its own (objects named drill-...), attaches workloads,
    and takes all of it away afterwards.
    """
    from ovenbird.drill import gateway_crash

    lab = opened(None)
    api = Servers(lab=lab.name).client()
    result = asyncio.run(gateway_crash.run(lab, api, seed=seed, progress=lambda what: say(f"  {what}")))
    data = result.to_json()
    emit(data, output, lambda: _rendered(data))
    click.get_current_context().exit(EXIT[data["outcome"]])


def _rendered(data: dict[str, Any]) -> str:
    def ms(value: float | None) -> str:
        return "-" if value is None else f"{value:.0f} ms"

    lines = [f"{data['name']}: {data['outcome'].upper()}"]
    lines += [f"  {reason}" for reason in data["reasons"]]
    lines += [
        f"  outage seen by a workload   {ms(data['outage_ms'])}  (BFD detection takes {ms(data['detect_limit_ms'])})",
        f"  outage when it came back    {ms(data['return_outage_ms'])}",
        f"  gateway back in service     {ms(data['back_in_service_ms'])} after the fault",
        f"  noise before the fault      {ms(data['noise_ms'])}  (largest gap with nothing broken)",
        "",
        table(
            ["stream", "outage", "on return", "sent", "lost"],
            [
                [name, ms(one["outage_ms"]), ms(one["return_outage_ms"]), int(one["sent"]), int(one["lost"])]
                for name, one in data["streams"].items()
            ],
        ),
        "",
        *(f"  {moment['at_ms']:>9.1f} ms  {moment['what']}" for moment in data["timeline"]),
    ]
    return "\n".join(lines)
