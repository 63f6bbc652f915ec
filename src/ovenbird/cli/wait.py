"""`ovenbird wait`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from ovenbird.cli.client import Client
from ovenbird.cli.output import emit, output_option, table
from ovenbird.cli.servers import Servers
from ovenbird.model.errors import Degraded, Timeout

ANSWER_MARGIN_S = 10.0
"""How much longer than the wait itself its answer may take."""


def wait_for(client: Client, revision: int | None, timeout_s: float) -> dict[str, Any]:
    """Wait until every chassis has a revision of the declared state (None: the present one)."""
    body = {"revision": revision, "timeout_s": timeout_s}
    return client.post("/v1/wait", body, timeout_s=timeout_s + ANSWER_MARGIN_S)


def judge(realised: Mapping[str, Any], timeout_s: float) -> None:
    """Raise Timeout when chassis lag, Degraded when all but dead ones have it; the message names them."""
    by_state: dict[str, list[str]] = {}
    for chassis in realised["chassis"]:
        by_state.setdefault(chassis["state"], []).append(chassis["name"])
    dead = ", ".join(by_state.get("dead", ()))
    evidence = "; ".join(f"{one['name']}: {one['detail']}" for one in realised["chassis"] if one.get("detail"))
    if realised["state"] == "done":
        return
    if realised["state"] == "dead":
        raise Degraded(
            f"revision {realised['revision']} is realised everywhere but on dead chassis: {dead}",
            code="dead_chassis",
            evidence=evidence,
            hint="they will catch up by themselves when they are back",
        )
    lagging = ", ".join(by_state.get("lagging", ())) or "the central nodes (no chassis has been asked yet)"
    raise Timeout(
        f"revision {realised['revision']} is not realised everywhere after {timeout_s:g} s; lagging: {lagging}"
        + (f"; dead: {dead}" if dead else ""),
        code="not_realised",
        evidence=evidence,
        hint="see `ovenbird status`",
    )


def as_table(realised: Mapping[str, Any]) -> str:
    """Return the state of every chassis."""
    return table(
        ["chassis", "state", "nb_cfg", "detail"],
        [[one["name"], one["state"], one.get("nb_cfg"), one.get("detail")] for one in realised["chassis"]],
    )


@click.command(epilog="Example: ovenbird wait --timeout 10")
@click.option(
    "--for", "what", type=click.Choice(["realised"]), default="realised", show_default=True, help="What to wait for."
)
@click.option(
    "--revision", type=click.IntRange(min=0), help="Revision of the declared state; the present one when not given."
)
@click.option(
    "--timeout", "timeout_s", default=30.0, show_default=True, metavar="SECONDS", help="Longest time to wait."
)
@output_option
@click.pass_obj
def wait(servers: Servers, what: str, revision: int | None, timeout_s: float, output: str) -> None:
    """Wait until every chassis has what is declared.

    Says per chassis: done, lagging or dead. Exits with 75 if any lags at the end, and with 4 if only dead ones lack it.
    """
    del what  # one choice so far
    realised = wait_for(servers.client(), revision, timeout_s)
    if output == "table" or realised["state"] == "done":
        emit(realised, output, lambda: as_table(realised))
    judge(realised, timeout_s)
