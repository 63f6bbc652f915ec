"""`ovenbird delete`."""

from __future__ import annotations

from typing import Any

import click

from ovenbird.cli.apply import APPLY_TIMEOUT_S
from ovenbird.cli.changes import as_lines, summary
from ovenbird.cli.declarations import documents, files_option
from ovenbird.cli.kinds import kind_argument
from ovenbird.cli.output import emit, output_option, say
from ovenbird.cli.servers import Servers


@click.command(epilog="Examples: ovenbird delete port vm1 vm2 · ovenbird delete -f networks.yaml")
@kind_argument(required=False)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@files_option(required=False)
@click.option("--dry-run", is_flag=True, help="Check and show the outcome, change nothing.")
@output_option
@click.pass_obj
def delete(
    servers: Servers, kind: str | None, names: tuple[str, ...], files: tuple[str, ...], dry_run: bool, output: str
) -> None:
    """Delete declared objects.

    By KIND and NAMEs, or all those that files name. It is one change: if any of them is still used by something that
    stays, nothing is deleted and the users are named.
    """
    if bool(files) == bool(kind) or (kind and not names):
        raise click.UsageError("give either KIND and NAMEs, or -f FILE")
    body: dict[str, Any] = {"dry_run": dry_run}
    if files:
        body["documents"] = documents(files)
    else:
        body["objects"] = [{"kind": kind, "name": name} for name in dict.fromkeys(names)]
    answer = servers.client().post("/v1/delete", body, timeout_s=APPLY_TIMEOUT_S)
    changes = answer["changes"]
    emit(answer, output, lambda: as_lines(changes, dry_run=dry_run))
    say(f"{summary(changes, planned=dry_run)} (revision {answer['revision']})")
