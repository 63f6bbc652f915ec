"""`ovenbird drill run --live` and `drill heal --live`: safe drills on the cluster that this host belongs to."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ovenbird.cli.output import say
from ovenbird.cli.servers import Servers
from ovenbird.model.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ovenbird.drill.live.host import LiveHost
    from ovenbird.drill.load import Stream
    from ovenbird.drill.script import Drill
    from ovenbird.drill.suite import Finished


def run_live(
    names: Sequence[str], *, streams: Sequence[str], gateway: str, seed: int | None, repeat: int, reports: Path
) -> list[Finished]:
    """Run safe drills on this cluster and return the runs. Nothing is run unless all of them may be."""
    from ovenbird.drill.catalogue import DRILLS, chosen
    from ovenbird.drill.live import guard
    from ovenbird.drill.live import streams as found
    from ovenbird.drill.live.host import LiveHost
    from ovenbird.drill.live.run import make_fault

    servers = click.get_current_context().find_object(Servers) or Servers()
    if servers.lab:
        raise UserError("--live is for the cluster that this host belongs to, --lab for a lab", hint="give one of them")
    client, host = servers.client(), LiveHost(servers.sockets())
    wanted = [drill for drill in DRILLS if drill.is_safe_live] if "all" in names else list(chosen(names))
    for drill in wanted:
        make_fault(drill, host, client, gateway)
    for name in guard.give_back(host.sockets):
        say(f"healed what an earlier run left: drain of {name}")
    flows = [found.parse(text, host.name) for text in streams] or found.found(client, host.name)
    say(f"from this host ({host.name}): {', '.join(f'{one.workload or found.HOST} to {one.target}' for one in flows)}")
    return [
        _once(host, drill, flows, gateway, random.randrange(2**31) if seed is None else seed, reports)
        for drill in wanted
        for _ in range(repeat)
    ]


def _once(host: LiveHost, drill: Drill, flows: Sequence[Stream], gateway: str, seed: int, reports: Path) -> Finished:
    from ovenbird.api.client import Client
    from ovenbird.drill.judge import judge
    from ovenbird.drill.live.run import run
    from ovenbird.drill.report import folder_name, write_report
    from ovenbird.drill.suite import Finished

    say(f"{drill.name}: seed {seed}")
    api = Client(host.sockets)
    going = run(host, api, drill, flows, gateway=gateway, seed=seed, progress=lambda what: say(f"  {what}"))
    record = asyncio.run(going)
    verdict = judge(record, drill.on(record).expect)
    folder = reports / folder_name(record.meta)
    logs = {f"{host.name}/{daemon}": path for daemon, path in host.logs().items()}
    judged = write_report(folder, record, drill, verdict, logs=logs)
    say(f"  {drill.name}: {verdict.outcome.value}")
    return Finished(drill=drill, record=record, judged=judged, folder=folder)


def heal_live() -> None:
    """Give back the gateways that a killed live drill left drained."""
    from ovenbird.drill.live import guard

    servers = click.get_current_context().find_object(Servers) or Servers()
    healed = guard.give_back(servers.sockets())
    say("\n".join(f"healed: drain of {name}" for name in healed) or "nothing was left broken")
