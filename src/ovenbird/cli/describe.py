"""`ovenbird describe`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from ovenbird.cli.kinds import kind_argument
from ovenbird.cli.output import emit, outline, output_option, scalar
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
    emit(answer, output, lambda: as_text(answer))


def as_text(answer: Mapping[str, Any]) -> str:
    """Return everything as an outline, rows one to a line."""
    rows = [f"{row['table']} {row['uuid']}  {_columns(row['columns'])}" for row in answer["rows"]]
    return outline({**answer, "rows": rows})


def _columns(columns: Mapping[str, Any]) -> str:
    filled = {name: value for name, value in columns.items() if value not in (None, "", [], {})}
    return " ".join(f"{name}={scalar(value)}" for name, value in filled.items() if name != "external_ids")
