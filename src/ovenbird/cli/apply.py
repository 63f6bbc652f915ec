"""`ovenbird apply`."""

from __future__ import annotations

import click

from ovenbird.cli.changes import as_lines, summary, warn
from ovenbird.cli.declarations import documents, files_option
from ovenbird.cli.output import emit, output_option, say
from ovenbird.cli.servers import Servers

APPLY_TIMEOUT_S = 120.0
"""Deadline of the change itself; 11,000 objects take a few seconds."""


@click.command(epilog="Example: ovenbird apply -f networks.yaml -f ports/ --wait")
@files_option(required=True)
@click.option("--dry-run", is_flag=True, help="Check everything and show the outcome, change nothing.")
@click.option("--wait", "wait_", is_flag=True, help="Wait until every chassis has it (as `ovenbird wait`).")
@click.option(
    "--timeout", "timeout_s", default=30.0, show_default=True, metavar="SECONDS", help="Longest time to --wait."
)
@output_option
@click.pass_context
def apply(
    ctx: click.Context, files: tuple[str, ...], dry_run: bool, wait_: bool, timeout_s: float, output: str
) -> None:
    """Make the declared state that of these files.

    All files are one change: either everything in them is accepted, or nothing is. Objects that the files do not
    name are left alone.
    """
    servers: Servers = ctx.obj
    body = {"documents": documents(files), "dry_run": dry_run}
    client = servers.client()
    answer = client.post("/v1/apply", body, timeout_s=APPLY_TIMEOUT_S)
    changes = answer["changes"]
    text = as_lines(changes, dry_run=dry_run)
    warn(answer)
    told = f"{summary(changes, planned=dry_run)} (revision {answer['revision']})"
    if not wait_ or dry_run:
        emit(answer, output, lambda: text)
        say(told)
        return
    from ovenbird.cli.wait import finish, shortfall, wait_for

    say(f"{told}; waiting for the chassis")
    realised = wait_for(client, answer["revision"], timeout_s)
    finish(ctx, {**answer, "realised": realised}, output, text, shortfall(realised, timeout_s))
