"""`ovenbird lab`: run a whole cluster on this machine, look into its nodes, take it away."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ovenbird.cli.lab_fault import fault
from ovenbird.cli.lab_name import name_option, opened
from ovenbird.cli.output import emit, output_option, say, table
from ovenbird.model.errors import UserError

if TYPE_CHECKING:
    from ovenbird.lab.lab import Lab
    from ovenbird.lab.node import Node
    from ovenbird.lab.spec import LabSpec


@click.group(epilog="Example: ovenbird lab up && ovenbird status")
def lab() -> None:
    """Run a whole cluster on this machine."""


lab.add_command(fault)


@lab.command(epilog="Example: ovenbird lab up --name big --gateways 3 --computes 4")
@click.option("--name", envvar="OVENBIRD_LAB", default="demo", show_default=True, help="Name of the lab.")
@click.option("--central", type=click.IntRange(0, 5), default=None, help="Central nodes: 1, 3 or 5.  [default: 3]")
@click.option("--gateways", type=click.IntRange(0, 50), default=None, help="Gateway nodes.  [default: 2]")
@click.option("--computes", type=click.IntRange(0, 50), default=None, help="Compute nodes.  [default: 2]")
@click.option(
    "--timers",
    type=click.Choice(["conservative", "normal", "fast"]),
    default=None,
    help="How soon the loss of a gateway is noticed.  [default: normal]",
)
@click.option(
    "--file", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Lab file, for unusual shapes."
)
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until the cluster is healthy.")
@click.option("--timeout", "timeout_s", type=float, default=60.0, show_default=True, help="Seconds to wait.")
def up(
    name: str,
    central: int | None,
    gateways: int | None,
    computes: int | None,
    timers: str | None,
    file: Path | None,
    wait: bool,
    timeout_s: float,
) -> None:
    """Bring a lab up, or repair one that is there: do what is missing, and say what was done."""
    from ovenbird.lab.lab import Lab
    from ovenbird.lab.readiness import wait_ready

    _require_root()
    started = time.monotonic()

    def progress(line: str) -> None:
        say(f"{time.monotonic() - started:5.1f} s  {line}")

    sizes = {"central": central, "gateways": gateways, "computes": computes, "timers": timers}
    spec = _wanted(name, {key: value for key, value in sizes.items() if value is not None}, file)
    made = Lab.create(spec, progress=progress)
    if wait:
        wait_ready(made, timeout_s=timeout_s, progress=progress)
    progress(f"lab {made.name} is {'ready' if wait else 'up, readiness not awaited'}")


def _wanted(name: str, sizes: dict[str, Any], file: Path | None) -> LabSpec:
    """Return the shape that the flags ask for; a lab that exists and no flags: the shape that it has."""
    from ovenbird.lab.spec import from_yaml, sized
    from ovenbird.lab.state import StateFile

    if file is not None:
        if sizes:
            raise UserError("give sizes and timers or a file, not both", hint="the file says how many nodes there are")
        return from_yaml(file.read_text(encoding="utf-8"), name=name, file=str(file))
    existing = None if sizes else StateFile(name).read()
    return existing.spec if existing is not None else sized(name, **sizes)


@lab.command(epilog="Example: ovenbird lab down --all")
@name_option
@click.option("--all", "every", is_flag=True, help="Every lab of this machine.")
def down(name: str | None, every: bool) -> None:
    """Take a lab away: processes, namespaces, links, mounts, files. Safe to repeat."""
    from ovenbird.cli.lab_name import chosen
    from ovenbird.lab.lab import remove
    from ovenbird.lab.state import names

    _require_root()
    for each in names() if every else [chosen(name)]:
        say(f"lab {each} is gone" if remove(each) else f"there is no lab {each}")


@lab.command(epilog="Example: ovenbird lab ps -o json")
@name_option
@output_option
def ps(name: str | None, output: str) -> None:
    """List the nodes of the lab, or of every lab when there are several."""
    from ovenbird.lab.lab import Lab
    from ovenbird.lab.state import StateFile, names

    wanted = [name] if name else [each for each in names() if StateFile(each).read() is not None]
    rows = [row for each in wanted for row in _rows(Lab.open(each))]
    headers = ("lab", "node", "state", "pid", "address", "roles", "processes", "faults")

    def render() -> str:
        cells = [[", ".join(row[key]) if key == "faults" else row[key] for key in headers] for row in rows]
        return table(headers, [[*line[:5], "+".join(line[5]), *line[6:]] for line in cells])

    emit({"nodes": rows}, output, render)


def _rows(found: Lab) -> list[dict[str, Any]]:
    from ovenbird.lab.faults import active

    faults = active(found)
    return [
        {
            "lab": found.name,
            "node": node.name,
            "state": "up" if node.is_up else "off",
            "pid": node.init.pid if node.init else None,
            "address": _address(found, node),
            "roles": sorted(role.value for role in node.spec.roles) if node.spec else [],
            "processes": len(node.processes()),
            "faults": [fault.describe() for fault in faults if fault.concerns(node.name)],
        }
        for node in (*found.nodes.values(), found.outside)
    ]


def _address(found: Lab, node: Node) -> str:
    if node.spec is not None:
        return node.spec.address
    return ",".join(item.address + (f" vlan {item.vlan}" if item.vlan else "") for item in found.spec.outside)


@lab.command(
    "exec",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="Example: ovenbird lab exec c1 -- ovn-nbctl --no-leader-only show",
)
@name_option
@click.argument("node")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def execute(name: str | None, node: str, command: tuple[str, ...]) -> None:
    """Run a command in a node; its exit status is ours."""
    # click stops reading options at NODE, so the customary "--" is still there
    words = list(command[1:] if command[0] == "--" else command)
    if not words:
        raise UserError("no command was given", hint="e.g. `ovenbird lab exec c1 -- ip address`")
    _become(opened(name).node(node), words)


@lab.command(epilog="Example: ovenbird lab shell g1")
@name_option
@click.argument("node")
def shell(name: str | None, node: str) -> None:
    """Open a shell in a node."""
    _become(opened(name).node(node), ["bash"] if Path("/bin/bash").exists() else ["sh"])


@lab.command(epilog="Example: ovenbird lab logs g1 ovn-controller -f")
@name_option
@click.argument("node")
@click.argument("daemon", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written.")
@click.option("-n", "--lines", type=click.IntRange(1), default=50, show_default=True, help="Last lines to show.")
def logs(name: str | None, node: str, daemon: str | None, follow: bool, lines: int) -> None:
    """Show a daemon's log, also of a node that is off; without DAEMON, list the logs there are."""
    from ovenbird.lab.node import ALIASES

    found = opened(name).node(node).logs()
    if daemon is None:
        for key, path in found.items():
            click.echo(f"{key:20} {path}")
        return
    key = ALIASES.get(daemon, daemon)
    if key not in found:
        raise UserError(f"{node} has no log of {daemon}", subject=node, hint=f"it has {', '.join(found) or 'none'}")
    arguments = ["tail", "-n", str(lines), *(["-F"] if follow else []), str(found[key])]
    raise SystemExit(subprocess.call(arguments))  # ends with the file, or when the reader has seen enough


def _become(node: Node, command: list[str]) -> None:
    """Replace this process by a command in a node: signals, terminal and exit status are then its own."""
    from ovenbird.lab.node import environment

    argv = node.enter(command)
    os.execvpe(argv[0], argv, dict(environment()))


def _require_root() -> None:
    if os.geteuid() != 0:
        raise UserError("labs are made of namespaces, which needs root", hint="run this as root")
