"""`ovenbird status`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import click

from ovenbird.cli.output import emit, output_option, say, table
from ovenbird.cli.servers import Servers
from ovenbird.model.errors import Degraded, Down, Unavailable

ASK_TIMEOUT_S = 6.0
EXIT = {"healthy": 0, "degraded": Degraded.exit_status, "down": Down.exit_status}
COLOURS = {"healthy": "green", "degraded": "yellow", "down": "red"}
MARKS = {"healthy": "ok", "degraded": "!", "down": "!!"}
CLEAR = "\x1b[H\x1b[2J"

Status = Mapping[str, Any]


@click.command(epilog="Examples: ovenbird status · ovenbird status -o json · ovenbird status --watch")
@click.option("--watch", is_flag=True, help="Look again and again, until Ctrl-C.")
@click.option("--interval", "interval_s", default=2.0, show_default=True, metavar="SECONDS", help="Pause of --watch.")
@output_option
@click.pass_context
def status(ctx: click.Context, watch: bool, interval_s: float, output: str) -> None:
    """Tell whether it is healthy, and if not, where.

    One verdict, its reasons, then every part. What could not be asked is unknown, and never makes anything down.
    Exits with 0 healthy, 4 degraded, 5 down, 69 if nobody could be asked.
    """
    servers: Servers = ctx.obj
    while watch:
        _show_again(servers, output)
        time.sleep(max(0.2, interval_s))
    seen = ask(servers)
    emit(seen, output, lambda: as_text(seen))
    ctx.exit(EXIT[seen["verdict"]])


def ask(servers: Servers) -> dict[str, Any]:
    """Return the status as the host sees it that knows most.

    That is the one with the acting controller, which alone knows problems; else one that is not cut off.
    """
    best: dict[str, Any] | None = None
    for seen in servers.client().each("/v1/status", timeout_s=ASK_TIMEOUT_S):
        if seen["problems"] is not None and not seen["cut_off"]:
            return seen
        if best is None or (best["cut_off"] and not seen["cut_off"]):
            best = seen
    assert best is not None  # `each` raises when nobody answered
    return best


def _show_again(servers: Servers, output: str) -> None:
    try:
        seen = ask(servers)
    except Unavailable as error:
        say(f"could not ask: {error.message} {error.evidence}")
        return
    if output == "table" and sys.stdout.isatty():
        click.echo(CLEAR, nl=False)
    emit(seen, output, lambda: as_text(seen))


def as_text(seen: Status) -> str:
    """Return the status for people."""
    parts = [*_head(seen), "", _databases(seen), "", *_central(seen), "", _chassis(seen)]
    if seen["routers"] is None or seen["routers"]:
        parts += ["", _routers(seen)]
    if seen.get("warnings"):
        parts += ["", *(f"warning:     {text}" for text in seen["warnings"])]
    if seen["drift"]:
        parts += ["", *_drift(seen)]
    return "\n".join(parts)


def _head(seen: Status) -> Iterator[str]:
    verdict = seen["verdict"]
    name = click.style(verdict.upper(), fg=COLOURS[verdict], bold=True)
    at = time.strftime("%H:%M:%S", time.localtime(seen["at_s"]))
    yield f"{name}  cluster {seen['cluster']}, as seen from {seen['observer']} at {at}"
    for reason in seen["reasons"]:
        hint = f" ({reason['hint']})" if reason["hint"] else ""
        mark = click.style(MARKS[reason["verdict"]].rjust(2), fg=COLOURS[reason["verdict"]])
        yield f"  {mark} {reason['message']}{hint}"


def _databases(seen: Status) -> str:
    rows = []
    for name, database in seen["databases"].items():
        members = [_member(member) for member in database["members"]]
        quorum = {True: "yes", False: "NO", None: "unknown"}[database["quorum"]]
        rows.append([name, database["leader"] or "unknown", database["term"], quorum, ", ".join(members)])
    return table(["database", "leader", "term", "quorum", "members"], rows)


def _member(member: Mapping[str, Any]) -> str:
    return f"{member['host']} {member['state']}"


def _central(seen: Status) -> Iterator[str]:
    northd, controller = seen["northd"], seen["controller"]
    yield f"northd:      {', '.join(_northd(one) for one in northd['hosts'])}"
    leader = {None: "unknown", "": "nobody"}.get(controller["leader"], controller["leader"])
    confirmed = _age(controller["confirmed_age_s"])
    if (autonomy := seen.get("autonomy")) and autonomy["gateways"]:
        works = {True: "yes", False: "NO", None: "unknown"}[autonomy["works_without_central"]]
        why = "; ".join(f"{one['name']}: {one['why']}" for one in autonomy["gateways"] if not one["works_alone"])
        yield f"gateways:    HA works without the central tier: {works}{f' ({why})' if why else ''}"
    yield (
        f"controller:  {leader}, epoch {_known(controller['epoch'])}, last confirmed write {confirmed}; "
        f"revision declared {_known(controller['declared_revision'])}, in NB {_known(controller['nb_revision'])}"
    )
    if controller.get("taken"):
        yield f"             took the place {controller['taken']}"


def _northd(one: Mapping[str, Any]) -> str:
    why = f" ({one['why']})" if one["state"] == "unknown" and one["why"] else ""
    return f"{one['host']} {one['state']}{why}"


def _chassis(seen: Status) -> str:
    rows = [
        [
            one["name"],
            {True: "yes", False: "NO", None: "unknown"}[one["registered"]],
            _lag(one["nb_cfg_lag"]),
            _age(one["heartbeat_age_s"]),
            _bfd(one),
        ]
        for one in seen["chassis"]
    ]
    return table(["chassis", "registered", "nb_cfg", "agent heard", "bfd"], rows) if rows else "no chassis"


def _lag(lag: int | None) -> str:
    return "unknown" if lag is None else "current" if lag == 0 else f"{lag} behind"


def _bfd(one: Mapping[str, Any]) -> str:
    up, down = one["bfd_up"], one["bfd_down"]
    if not up and not down:
        return "-"
    return f"{len(up)} up" + (f", DOWN to {', '.join(down)}" if down else "")


def _routers(seen: Status) -> str:
    if seen["routers"] is None:
        return "routers: unknown"
    rows = []
    for router in seen["routers"]:
        active = {None: "unknown", "": "NONE"}.get(router["active"], router["active"])
        if any(one["chassis"] == router["active"] and one.get("unfit") for one in router["gateways"]):
            active = f"{active} UNFIT"
        standbys = [_gateway(one) for one in router["gateways"] if one["chassis"] != router["active"]]
        rows.append([router["name"], router.get("mode", ""), active, ", ".join(standbys)])
    return table(["router", "mode", "active gateway", "standbys"], rows)


def _drift(seen: Status) -> Iterator[str]:
    for one in seen["drift"]:
        yield f"drift:       repaired {_age(max(0.0, seen['at_s'] - one['at_s']))}: {one['detail']}"


def _gateway(one: Mapping[str, Any]) -> str:
    state = {True: "", False: " DEAD", None: " unknown"}[one["alive"]]
    return f"{one['chassis']} ({one['priority']}){state}{' UNFIT' if one.get('unfit') else ''}"


def _age(age_s: float | None) -> str:
    return "unknown" if age_s is None else f"{age_s:.0f} s ago"


def _known(value: Any) -> Any:
    return "unknown" if value is None else value
