"""`ovenbird plan`."""

from __future__ import annotations

import click

from ovenbird.cli.apply import APPLY_TIMEOUT_S
from ovenbird.cli.changes import as_diff, real, summary, warn
from ovenbird.cli.declarations import documents, files_option
from ovenbird.cli.output import emit, output_option
from ovenbird.cli.servers import Servers


@click.command(epilog="Example: ovenbird plan -f networks.yaml --exit-code")
@files_option(required=True)
@click.option("--exit-code", is_flag=True, help="Exit with 1 if there are changes, as diff does.")
@output_option
@click.pass_context
def plan(ctx: click.Context, files: tuple[str, ...], exit_code: bool, output: str) -> None:
    """Show what apply would change.

    Object by object, field by field: + to be created, ~ to be updated. Nothing is changed. Bad input fails just as it
    would with apply.
    """
    servers: Servers = ctx.obj
    body = {"documents": documents(files), "dry_run": True}
    answer = servers.client().post("/v1/apply", body, timeout_s=APPLY_TIMEOUT_S)
    changes = answer["changes"]
    warn(answer)

    def render() -> str:
        end = f"Plan: {summary(changes, planned=True)} (against revision {answer['revision']})."
        return "\n".join(filter(None, (as_diff(changes), end)))

    emit(answer, output, render)
    if exit_code and real(changes):
        ctx.exit(1)
