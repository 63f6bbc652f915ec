"""`ovenbird gateway list|drain|undrain|move|rebalance|history`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

from ovenbird.api.client import Client
from ovenbird.cli.output import emit, output_option, say, table
from ovenbird.cli.servers import Servers
from ovenbird.model.errors import Timeout

POLL_S = 0.2
F = TypeVar("F", bound=Callable[..., Any])
_GOOD = {True: "yes", False: "no", None: "unknown"}


@click.group()
def gateway() -> None:
    """See and move what gateways carry."""


def _change_options(function: F) -> F:
    for option in (
        click.option("--dry-run", is_flag=True, help="Show what would move, change nothing."),
        click.option("--wait", "wait_", is_flag=True, help="Wait until the routers are carried where they should be."),
        click.option(
            "--timeout", "timeout_s", default=30.0, show_default=True, metavar="SECONDS", help="Longest time to --wait."
        ),
    ):
        function = option(function)
    return output_option(function)


@gateway.command("list", epilog="Example: ovenbird gateway list -o json")
@output_option
@click.pass_obj
def list_(servers: Servers, output: str) -> None:
    """List gateways, whether they are good, and what they carry."""
    answer = servers.client().get("/v1/gateways")
    emit(answer, output, lambda: as_table(answer))


@gateway.command(epilog="Example: ovenbird gateway drain g1 --dry-run")
@click.argument("node")
@click.option("--force", is_flag=True, help="Also when some router then has no good gateway; it stays where it is.")
@_change_options
@click.pass_obj
def drain(servers: Servers, /, node: str, force: bool, **options: Any) -> None:
    """Have NODE carry nothing, before work on it.

    Its routers move to other good gateways, and none comes back before `undrain`. It stays their last resort. Refused
    when a router has no other good gateway.
    """
    _change(servers, "drain", {"node": node, "force": force}, **options)


@gateway.command(epilog="Example: ovenbird gateway undrain g1")
@click.argument("node")
@_change_options
@click.pass_obj
def undrain(servers: Servers, /, node: str, **options: Any) -> None:
    """Let NODE carry routers again.

    Routers whose home it is come back by their own failback policy: at once (preempt), later (delayed), or not by
    themselves (manual; see `rebalance`).
    """
    _change(servers, "undrain", {"node": node}, **options)


@gateway.command(epilog="Example: ovenbird gateway move r1 --to g2 --wait")
@click.argument("router")
@click.option("--to", "to", required=True, metavar="NODE", help="Its new home gateway.")
@click.option("--force", is_flag=True, help="Also when NODE is not known to be good; the router moves when it is.")
@_change_options
@click.pass_obj
def move(servers: Servers, /, router: str, to: str, force: bool, **options: Any) -> None:
    """Make another gateway the home of ROUTER, and move it there."""
    _change(servers, "move", {"router": router, "to": to, "force": force}, **options)


@gateway.command(epilog="Example: ovenbird gateway rebalance --dry-run")
@_change_options
@click.pass_obj
def rebalance(servers: Servers, /, **options: Any) -> None:
    """Spread routers evenly over the good gateways, by the fewest moves.

    Nothing moves if it is even already. A router that waits for its home gateway to come back is left alone.
    """
    _change(servers, "rebalance", {}, **options)


@gateway.command(epilog="Example: ovenbird gateway history --router r1")
@click.option("--router", default="", metavar="NAME", help="Only of this router.")
@click.option(
    "--last", default=50, show_default=True, type=click.IntRange(min=1), help="At most so many, newest first."
)
@output_option
@click.pass_obj
def history(servers: Servers, router: str, last: int, output: str) -> None:
    """Tell when and why routers changed gateways, and how long that was felt.

    noticed: from the last sign that all was well until something was found wrong. outage: until the outside had
    answered the new gateway. Both are estimates (-o json has the evidence), empty where nothing is known. outside: how
    long after the claim the next hop answered the router at its new gateway.
    """
    answer = servers.client().get("/v1/gateways/history", query={"router": router})
    shown = {"changes": answer["changes"][:last]}
    emit(shown, output, lambda: as_history(shown["changes"]))


def _change(
    servers: Servers, verb: str, body: Mapping[str, Any], *, dry_run: bool, wait_: bool, timeout_s: float, output: str
) -> None:
    client = servers.client()
    answer = client.post(f"/v1/gateways/{verb}", {**body, "dry_run": dry_run})
    if wait_ and not dry_run:
        wait_moved(client, answer["moves"], timeout_s)
    emit(answer, output, lambda: as_moves(answer))
    count = len(answer["moves"])
    if dry_run:
        say(f"{count} to move; nothing was changed")
    else:
        say(f"{count} moved" if wait_ else f"{count} to move; the controller moves them")


def as_table(answer: Mapping[str, Any]) -> str:
    """Return one line per gateway, then one per router."""
    gateways = [
        [one["name"], _GOOD[one["good"]], _state(one), len(one["carries"]), len(one["home_of"]), one["why"]]
        for one in answer["gateways"]
    ]
    routers = [
        [one["name"], one["mode"], one["active"], one["home"], ", ".join(one["order"]), one["failback"]]
        for one in answer["routers"]
    ]
    told = table(["gateway", "good", "state", "carries", "home of", "why"], gateways)
    return f"{told}\n\n{table(['router', 'mode', 'active', 'home', 'order', 'failback'], routers)}" if routers else told


def _state(one: Mapping[str, Any]) -> str:
    return ", ".join(word for word in ("drained", "unfit") if one[word]) or "in service"


def as_moves(answer: Mapping[str, Any]) -> str:
    """Return one line per move; nothing when nothing moves."""
    rows = [[one["router"], one["from"], one["to"], "now"] for one in answer["moves"]]
    rows += [[one["router"], one["from"], one["to"], f"when good for {one['after_s']:g} s"] for one in answer["later"]]
    return table(["router", "from", "to", "when"], rows) if rows else ""


def as_history(changes: list[dict[str, Any]]) -> str:
    """Return one line per change."""
    if not changes:
        return "no change is recorded"
    return table(
        ["time (UTC)", "router", "from", "to", "cause", "decided by", "noticed", "outage", "outside"],
        [
            [
                moment(one["at_ms"]),
                *(one[field] for field in ("router", "from", "to", "cause", "decided_by")),
                *(estimated(one[field]) for field in ("detected_ms", "outage_ms")),
                outside(one),
            ]
            for one in changes
        ],
    )


def estimated(value_ms: int | None) -> str:
    """Return an estimate as people read it; "" when there is none."""
    return "" if value_ms is None else f"~{value_ms} ms"


def outside(change: Mapping[str, Any]) -> str:
    """Return whether the outside has learnt of a change."""
    match change["outside"]:
        case "answered":
            return f"answered after {change['outside_ms']} ms"
        case "silent":
            return "has not learnt"
        case "unknown":
            return "not known"
        case other:
            return str(other)


def moment(at_ms: int) -> str:
    """Return unix milliseconds as people read them."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def wait_moved(client: Client, moves: list[dict[str, Any]], timeout_s: float) -> None:
    """Return once each router is carried where it should be; raises Timeout naming those that are not."""
    deadline = time.monotonic() + timeout_s
    while True:
        active = {one["name"]: one["active"] for one in client.get("/v1/gateways")["routers"]}
        late = [one for one in moves if one["router"] in active and active[one["router"]] != one["to"]]
        if not late:
            return
        if time.monotonic() >= deadline:
            first = late[0]
            raise Timeout(
                f"{len(late)} of {len(moves)} routers have not moved after {timeout_s:g} s",
                code="not_moved",
                evidence=f"Router/{first['router']} is on {active[first['router']] or 'none'}, not on {first['to']}",
                hint="what is wanted is recorded and goes on; see `ovenbird status` and `ovenbird gateway list`",
            )
        time.sleep(POLL_S)
