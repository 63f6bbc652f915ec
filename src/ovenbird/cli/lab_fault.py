"""`ovenbird lab fault`: break one thing in a lab on purpose, and heal it.

Each command injects one fault and proves by its effect that it bites before it returns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ovenbird.cli.lab_name import name_option, opened
from ovenbird.cli.output import emit, output_option, say, table

if TYPE_CHECKING:
    from ovenbird.lab.faults import Fault


@click.group(epilog="Example: ovenbird lab fault partition g1 --plane control; ovenbird lab fault heal")
def fault() -> None:
    """Break one thing in a lab on purpose, and heal it."""


def _inject(wanted: Fault) -> None:
    wanted.inject()
    wanted.verify_injected()
    say(wanted.describe() + ("; heal with `ovenbird lab fault heal`" if wanted.stays else ""))


@fault.command(epilog="Example: ovenbird lab fault kill g1 ovs-vswitchd")
@name_option
@click.argument("node")
@click.argument("daemon")
@click.option("--signal", "number", type=click.Choice(["KILL", "TERM"]), default="KILL", show_default=True)
def kill(name: str | None, node: str, daemon: str, number: str) -> None:
    """End a daemon; the node's agent may start it again."""
    import signal

    from ovenbird.lab.faults import Kill

    chosen = signal.Signals[f"SIG{number}"]
    _inject(Kill(lab=opened(name), node=node, daemon=daemon, number_of_signal=chosen))


@fault.command(epilog="Example: ovenbird lab fault stop c1 nb")
@name_option
@click.argument("node")
@click.argument("daemon")
def stop(name: str | None, node: str, daemon: str) -> None:
    """Stop a daemon without ending it: its sockets stay open."""
    from ovenbird.lab.faults import Stop

    _inject(Stop(lab=opened(name), node=node, daemon=daemon))


@fault.command("power-off", epilog="Example: ovenbird lab fault power-off g1")
@name_option
@click.argument("node")
def power_off(name: str | None, node: str) -> None:
    """Take a node's power: all its processes end at once, its disk stays."""
    from ovenbird.lab.faults import PowerOff

    _inject(PowerOff(lab=opened(name), node=node))


@fault.command("power-on", epilog="Example: ovenbird lab fault power-on g1")
@name_option
@click.argument("node")
def power_on(name: str | None, node: str) -> None:
    """Boot a node that is off and start its agent."""
    done = opened(name).power_on(node)
    say(f"{node} is on" if done else f"{node} was on")


@fault.command("link-down", epilog="Example: ovenbird lab fault link-down g1 eth1")
@name_option
@click.argument("node")
@click.argument("interface")
def link_down(name: str | None, node: str, interface: str) -> None:
    """Take the carrier from an interface: eth0 is the underlay, eth1 the uplink to the outside."""
    from ovenbird.lab.faults import LinkDown

    _inject(LinkDown(lab=opened(name), node=node, interface=interface))


@fault.command("link-up", epilog="Example: ovenbird lab fault link-up g1 eth1")
@name_option
@click.argument("node")
@click.argument("interface")
def link_up(name: str | None, node: str, interface: str) -> None:
    """Give an interface its carrier back."""
    from ovenbird.lab.faults import LinkDown, active

    found = opened(name)
    down = [each for each in active(found) if isinstance(each, LinkDown) and each.node == node]
    for each in [each for each in down if each.interface == interface] or [
        LinkDown(lab=found, node=node, interface=interface)
    ]:
        each.heal()
    say(f"{interface} of {node} has its carrier")


@fault.command("continue", epilog="Example: ovenbird lab fault continue c1 nb")
@name_option
@click.argument("node")
@click.argument("daemon", required=False)
def proceed(name: str | None, node: str, daemon: str | None) -> None:
    """Let stopped daemons of a node go on."""
    from ovenbird.lab.faults import Stop, active

    for each in active(opened(name)):
        if isinstance(each, Stop) and each.node == node and daemon in (None, each.daemon):
            each.heal()
            say(f"{each.daemon} on {node} goes on")


@fault.command(epilog="Example: ovenbird lab fault partition g1 --from g2 --direction in")
@name_option
@click.argument("nodes", nargs=-1, required=True)
@click.option("--from", "peers", multiple=True, metavar="NODE", help="Cut off this node only; may be repeated.")
@click.option("--direction", type=click.Choice(["in", "out", "both"]), default="both", show_default=True)
@click.option(
    "--plane",
    type=click.Choice(["control", "data", "all"]),
    default="all",
    show_default=True,
    help="control: the databases' TCP ports; data: Geneve.",
)
def partition(name: str | None, nodes: tuple[str, ...], peers: tuple[str, ...], direction: str, plane: str) -> None:
    """Cut nodes off the others on the underlay; several nodes stay together on one side."""
    from ovenbird.lab.faults import Partition

    lab = opened(name)
    _inject(Partition(lab=lab, nodes=nodes, peers=peers, direction=direction, plane=plane))  # type: ignore[arg-type]


@fault.command(epilog="Example: ovenbird lab fault inject loss g1 --set percent=5 --limit 60")
@name_option
@click.argument("kind")
@click.argument("nodes", nargs=-1)
@click.option("--set", "settings", multiple=True, metavar="PARAMETER=VALUE", help="As `lab fault kinds` lists them.")
@click.option("--limit", "limit_s", type=float, metavar="SECONDS", help="Heal by itself after this time.")
def inject(
    name: str | None, kind: str, nodes: tuple[str, ...], settings: tuple[str, ...], limit_s: float | None
) -> None:
    """Inject any kind of fault, with or without a time limit."""
    import yaml

    from ovenbird.drill.fault import make_fault
    from ovenbird.model.errors import UserError

    values = {}
    for item in settings:
        key, found, value = item.partition("=")
        if not found:
            raise UserError(f"not PARAMETER=VALUE: {item}")
        values[key] = value.split(",") if key == "peers" else yaml.safe_load(value)
    wanted = make_fault(opened(name), kind, nodes, limit_s=limit_s, **values)
    wanted.inject()
    wanted.verify_injected()
    say(wanted.describe() + ("; heal with `ovenbird lab fault heal`" if wanted.stays else ""))


@fault.command(epilog="Example: ovenbird lab fault kinds -o json")
@output_option
def kinds(output: str) -> None:
    """List every kind of fault, its parameters, and the faults that cannot be injected, with the reason."""
    from ovenbird.drill.fault import UNAVAILABLE, parameters
    from ovenbird.lab.faults import KINDS

    found: list[dict[str, Any]] = [
        {"kind": kind, "what": (cls.__doc__ or "").partition("\n")[0], "parameters": dict(parameters(kind))}
        for kind, cls in KINDS.items()
    ]
    rows = [
        [item["kind"], " ".join(f"{key}={value}" for key, value in item["parameters"].items()), item["what"]]
        for item in found
    ]
    rows += [[kind, "", f"not available: {reason}"] for kind, reason in UNAVAILABLE.items()]
    emit(
        {"kinds": found, "unavailable": dict(UNAVAILABLE)}, output, lambda: table(("kind", "parameters", "what"), rows)
    )


@fault.command(epilog="Example: ovenbird lab fault heal g1")
@name_option
@click.argument("node", required=False)
def heal(name: str | None, node: str | None) -> None:
    """Heal all active faults, or those of one node."""
    from ovenbird.lab.faults import heal as heal_all

    healed = heal_all(opened(name), node=node or "")
    for each in healed:
        say(f"healed: {each.describe()}")
    if not healed:
        say("no fault is active")


@fault.command("list", epilog="Example: ovenbird lab fault list -o json")
@name_option
@output_option
def show(name: str | None, output: str) -> None:
    """List the active faults."""
    from ovenbird.lab.faults import active

    faults = active(opened(name))
    data = [{"id": each.number, "kind": each.kind, "limit_s": each.limit_s, **each.parameters()} for each in faults]
    rows = [[each.number, each.kind, each.describe()] for each in faults]
    emit({"faults": data}, output, lambda: table(("id", "kind", "fault"), rows) if rows else "no fault is active")
