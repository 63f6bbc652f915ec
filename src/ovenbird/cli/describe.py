"""`ovenbird describe`."""

from __future__ import annotations

import click

from ovenbird.cli.kinds import kind_argument
from ovenbird.cli.output import emit, outline, output_option
from ovenbird.cli.servers import Servers


@click.command(epilog="Example: ovenbird describe router r1")
@kind_argument(required=True)
@click.argument("name")
@output_option
@click.pass_obj
def describe(servers: Servers, kind: str, name: str, output: str) -> None:
    """Show one object with everything known about it.

    What was declared, what was assigned, whether it is realised, who refers to it, and its rows in OVN's northbound
    database.
    """
    answer = servers.client().get(f"/v1/objects/{kind}/{name}")
    emit(answer, output, lambda: outline(answer))
