"""`ovenbird wait`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from ovenbird.api.client import Client
from ovenbird.cli.output import emit, output_option, table
from ovenbird.cli.servers import Servers
from ovenbird.model.errors import Degraded, OvenbirdError, Problem, Timeout

ANSWER_MARGIN_S = 10.0
"""How much longer than the wait itself its answer may take."""


def wait_for(client: Client, revision: int | None, timeout_s: float) -> dict[str, Any]:
    """Wait until every chassis has a revision of the declared state (None: the present one)."""
    body = {"revision": revision, "timeout_s": timeout_s}
    return client.post("/v1/wait", body, timeout_s=timeout_s + ANSWER_MARGIN_S)


def shortfall(realised: Mapping[str, Any], timeout_s: float) -> OvenbirdError | None:
    """Return Timeout when chassis lag, Degraded when all but dead ones have it; each that does not is named."""
    if realised["state"] == "done":
        return None
    problems = [
        Problem(message=f"{one['name']} {one['state']}: {one['detail']}")
        for one in realised["chassis"]
        if one["state"] != "done"
    ]
    revision, detail = realised["revision"], realised["detail"]
    if realised["state"] == "dead":
        return Degraded(
            f"revision {revision} is realised on every chassis that lives: {detail}",
            code="dead_chassis",
            problems=problems,
            hint="dead ones catch up by themselves when they are back",
        )
    return Timeout(
        f"revision {revision} is not realised everywhere after {timeout_s:g} s: {detail}",
        code="not_realised",
        problems=problems,
        hint="see `ovenbird status`",
    )


def finish(ctx: click.Context, answer: Mapping[str, Any], output: str, text: str, error: OvenbirdError | None) -> None:
    """Print the answer and fail if there is an error: still one document on stdout, the error being part of it."""
    if error is None or output == "table":
        emit(answer, output, lambda: text)
        if error is not None:
            raise error
    else:
        emit({**answer, "error": error.to_json()}, output, lambda: text)
        ctx.exit(error.exit_status)


def as_table(realised: Mapping[str, Any]) -> str:
    """Return the state of every chassis; nothing when there are none to tell of."""
    if not realised["chassis"]:
        return ""
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
@click.pass_context
def wait(ctx: click.Context, what: str, revision: int | None, timeout_s: float, output: str) -> None:
    """Wait until every chassis has what is declared.

    Says per chassis: done, lagging or dead. Exits with 75 if any lags at the end, and with 4 if only dead ones lack it.
    """
    del what  # one choice so far
    servers: Servers = ctx.obj
    realised = wait_for(servers.client(), revision, timeout_s)
    finish(ctx, realised, output, as_table(realised), shortfall(realised, timeout_s))
